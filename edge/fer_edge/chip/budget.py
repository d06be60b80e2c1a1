"""How much of the budget for searches the processor's temperature leaves.

A processor that its firmware throttles is slow in everything: frames come late, and the camera's buffers run full.
So the budget is lowered before, by degrees, and rises again slowly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from fer_edge.chip.mailbox import DEVICES
from fer_edge.chip.reading import CAPPED, FLAGS, SOFT_LIMIT, THROTTLED, UNDER_VOLTAGE, read_chip
from fer_edge.settings.service import ChipSettings
from fer_edge.status import ChipStatus
from fer_edge.system.messages import print_message

COOLER_C = 3.0
"""°C by which the chip must be cooler than when the budget was lowered, before it rises again."""
RISE = 0.1
"""Most by which the share rises from one look to the next: more work is what heats the chip, which takes a while."""


def next_share(before: float, temperature_c: float | None, flags: Iterable[str], settings: ChipSettings) -> float:
    """The share of the budget, ``least_share`` to 1, after one of ``before``.

    Whole up to ``warm_c``, then falling evenly to ``least_share`` at ``hot_c``. It falls at once, and rises again by
    ``RISE`` at most, and only once the chip is cooler by ``COOLER_C``: a temperature that goes up and down by less
    changes nothing. A chip that its firmware slows down gets ``least_share``, one that is short of voltage or slowed a
    little, half of the way to it, whatever the temperature.
    """
    least = settings.least_share
    told = set(flags)
    most = 1.0
    if told & {THROTTLED, CAPPED}:
        most = least
    elif told & {UNDER_VOLTAGE, SOFT_LIMIT}:
        most = (1 + least) / 2
    allowed = min(most, _by_temperature(temperature_c, settings))
    again = allowed if temperature_c is None else min(most, _by_temperature(temperature_c + COOLER_C, settings))
    before = min(max(before, least), 1.0)
    # Rounded, or steps that add up to 1 would end a little below it.
    return max(least, round(min(allowed, max(before, min(again, before + RISE))), 3))


def _by_temperature(temperature_c: float | None, settings: ChipSettings) -> float:
    if temperature_c is None:
        return 1.0
    heat = (temperature_c - settings.warm_c) / (settings.hot_c - settings.warm_c)
    return 1.0 - (1.0 - settings.least_share) * min(max(heat, 0.0), 1.0)


class ChipCare:
    """Looks at the chip now and then, and tells how much of the budget is left; for all threads to share.

    ``tell`` is given each new ``ChipStatus``: ``StatusBoard.set_chip``. ``settings.look_every_s`` 0 never looks.
    """

    def __init__(self, settings: ChipSettings, tell: Callable[[ChipStatus], None] | None = None) -> None:
        self._settings = settings
        self._tell = tell or (lambda status: None)
        self._sysfs = Path(settings.sysfs)
        # Elsewhere than in /sys stands another chip than the one that would answer.
        self._devices = DEVICES if settings.sysfs == ChipSettings().sysfs else None
        self._looking = threading.Lock()
        self._due = float("-inf")
        self._status = ChipStatus()

    def poll(self, now: float) -> ChipStatus:
        """The newest status; looks again where ``look_every_s`` have passed by ``now``, monotonic seconds.

        Says in one line when the budget is lowered, and when it is whole again. For each frame: costs next to nothing
        but when a look is due, and then for one of the threads alone.
        """
        every_s = self._settings.look_every_s
        if every_s > 0 and now >= self._due and self._looking.acquire(blocking=False):
            try:
                if now >= self._due:  # another thread may have looked meanwhile
                    self._due = now + every_s
                    self._look()
            finally:
                self._looking.release()
        return self._status

    def _look(self) -> None:
        last, read = self._status, read_chip(self._sysfs, self._devices)
        share = next_share(last.budget_share, read.temperature_c, read.throttled, self._settings)
        # The kernel's own driver has the firmware forget, every two seconds, what happened before.
        before = {*last.throttled_before, *read.throttled_before, *read.throttled}
        self._status = replace(
            read, throttled_before=tuple(name for name in FLAGS if name in before), budget_share=share
        )
        self._tell(self._status)
        if share < 1 <= last.budget_share:
            print_message(f"the chip is {_called(read)}: the budget for searches is lowered, to {share:.0%} so far")
        elif last.budget_share < 1 <= share:
            print_message(f"the chip is {_called(read)}: the budget for searches is whole again")


def _called(status: ChipStatus) -> str:
    degrees = [] if status.temperature_c is None else [f"at {status.temperature_c:.1f} °C"]
    return ", ".join([*degrees, *status.throttled]) or "well"
