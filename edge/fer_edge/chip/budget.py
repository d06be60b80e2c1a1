"""Lower the search budget when the chip gets hot or is throttled.

A throttled chip is slow in everything: frames arrive late and camera buffers overflow. The budget is therefore lowered
gradually before the firmware throttles the chip, and raised again slowly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from fer_edge.chip.mailbox import DEVICES
from fer_edge.chip.reading import CAPPED, FLAGS, SOFT_LIMIT, THROTTLED, UNDER_VOLTAGE, read_chip
from fer_edge.settings.service import ChipSettings
from fer_edge.status import ChipStatus
from fer_edge.system.messages import print_message

HYSTERESIS_C = 3.0
"""°C by which the chip must cool down before the share rises again."""
MAX_RISE = 0.1
"""Maximum rise of the share per reading: more work heats the chip, with a delay."""


def next_share(before: float, temperature_c: float | None, flags: Iterable[str], settings: ChipSettings) -> float:
    """Return the share of the search budget that follows ``before``, from ``chip.min_budget_share`` to 1.

    The share is 1 up to ``warm_c`` and falls linearly to ``min_budget_share`` at ``hot_c``. It falls at once, but rises
    by at most ``MAX_RISE``, and only when the chip is ``HYSTERESIS_C`` cooler, so that small fluctuations change
    nothing. It is minimal while the chip is throttled or its frequency capped, and at most halfway between the minimum
    and 1 with under-voltage or at the soft temperature limit, at any temperature.

    ``temperature_c`` is in °C, None if unknown. ``flags`` are the names of those that are set, as in ``reading.FLAGS``.
    """
    min_share = settings.min_budget_share
    active = set(flags)
    max_share = 1.0
    if active & {THROTTLED, CAPPED}:
        max_share = min_share
    elif active & {UNDER_VOLTAGE, SOFT_LIMIT}:
        max_share = (1 + min_share) / 2
    degrees = -math.inf if temperature_c is None else temperature_c
    allowed = min(max_share, _by_temperature(degrees, settings))
    risen = min(max_share, _by_temperature(degrees + HYSTERESIS_C, settings))
    before = min(max(before, min_share), 1.0)
    # Rounded so that repeated steps reach exactly 1.
    return max(min_share, round(min(allowed, max(before, min(risen, before + MAX_RISE))), 3))


def _by_temperature(temperature_c: float, settings: ChipSettings) -> float:
    heat = (temperature_c - settings.warm_c) / (settings.hot_c - settings.warm_c)
    return 1.0 - (1.0 - settings.min_budget_share) * min(max(heat, 0.0), 1.0)


class ChipMonitor:
    """Read the chip periodically and derive the share of the search budget. Not thread-safe.

    Args:
        settings: The section ``[chip]``. With ``poll_interval_s`` = 0 the chip is never read.
        on_status: Called with each new ``ChipStatus``.
    """

    def __init__(self, settings: ChipSettings, on_status: Callable[[ChipStatus], None]) -> None:
        self._settings = settings
        self._on_status = on_status
        self._sysfs = Path(settings.sysfs)
        # With another sysfs, such as in tests, do not mix in the firmware of this machine.
        self._devices = DEVICES if settings.sysfs == ChipSettings().sysfs else None
        self._due = float("-inf")
        self._status = ChipStatus()

    def poll(self, now: float) -> ChipStatus:
        """Return the newest status; read the chip first if ``poll_interval_s`` have passed. ``now`` is monotonic.

        Prints a line when the budget is lowered and when it is restored. Cheap enough to be called for each frame.
        """
        every_s = self._settings.poll_interval_s
        if every_s > 0 and now >= self._due:
            self._due = now + every_s
            self._update()
        return self._status

    def _update(self) -> None:
        last, read = self._status, read_chip(self._sysfs, self._devices)
        share = next_share(last.budget_share, read.temperature_c, read.throttled, self._settings)
        # Flags accumulate here, because the kernel's driver clears those of the firmware every two seconds.
        before = {*last.throttled_before, *read.throttled_before, *read.throttled}
        self._status = replace(
            read, throttled_before=tuple(name for name in FLAGS if name in before), budget_share=share
        )
        self._on_status(self._status)
        if share < 1 <= last.budget_share:
            print_message(f"the chip is {_describe(read)}: search budget lowered, currently to {share:.0%}")
        elif last.budget_share < 1 <= share:
            print_message(f"the chip is {_describe(read)}: search budget restored")


def _describe(status: ChipStatus) -> str:
    degrees = [] if status.temperature_c is None else [f"at {status.temperature_c:.1f} °C"]
    return ", ".join([*degrees, *status.throttled]) or "not throttled"
