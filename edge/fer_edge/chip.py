"""The chip's temperature, what slows it down, and how much of the budget for searches that leaves.

A chip that is slowed down by its firmware is slow in everything: frames come late, and the camera's buffers run full.
So the budget is lowered before, by degrees, and comes back slowly.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from fer_edge.chip_mailbox import DEVICES, ask_throttled
from fer_edge.one_line import say
from fer_edge.service_config import ChipSettings
from fer_edge.status import ChipStatus

FLAGS = (UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT) = (
    "under-voltage",
    "frequency capped",
    "throttled",
    "soft temperature limit",
)
"""Bits 0 to 3 of the firmware's flags; bits 16 to 19 are the same since the chip was switched on,
https://www.raspberrypi.com/documentation/computers/os.html#get_throttled"""

COOLER_C = 3.0
"""°C by which the chip must be cooler than when the budget was lowered, before it rises again."""
RISE = 0.1
"""Most by which the share rises from one look to the next: more work is what heats the chip, which takes a while."""

_PLAUSIBLE_C = (-50.0, 150.0)
_FIRMWARE_FILES = ("devices/platform/soc/soc:firmware/get_throttled", "devices/platform/soc*/*firmware/get_throttled")
_LONGEST = 64


def read_chip(sysfs: Path, devices: Path | None = None) -> ChipStatus:
    """The chip now, with the whole budget; what the kernel does not report is None, or no flag.

    ``sysfs`` is where the kernel reports its state, ``devices`` the folder with the devices by which the firmware of a
    Pi is asked. Never raises for what is missing or damaged there. Reading sysfs may take a millisecond or two.
    """
    bits = read_throttled(sysfs, devices) or 0
    return ChipStatus(_read_temperature(sysfs), named_flags(bits), named_flags(bits >> 16))


def read_throttled(sysfs: Path, devices: Path | None = None) -> int | None:
    """The firmware's flags, from the first that knows them; None if none does. See ``read_chip``."""
    asked = None if devices is None else ask_throttled(devices)
    if asked is not None:
        return asked
    # After the mailbox: where this file still exists, the kernel logs a warning of a page when it is read first.
    for pattern in _FIRMWARE_FILES:
        for path in _matching(sysfs, pattern):
            bits = parse_throttled(_read(path) or "")
            if bits is not None:
                return bits
    # The kernel's own driver knows of voltage alone: it was too low within the last two seconds.
    for monitor in _matching(sysfs / "class" / "hwmon", "hwmon*"):
        if (_read(monitor / "name") or "").strip() == "rpi_volt":
            return int((_read(monitor / "in0_lcrit_alarm") or "").strip() == "1")
    return None


def named_flags(bits: int) -> tuple[str, ...]:
    """The names of the lowest four bits that are set."""
    return tuple(name for number, name in enumerate(FLAGS) if bits >> number & 1)


def parse_throttled(text: str) -> int | None:
    """The flags in ``text``, hexadecimal as the kernel writes them, ``50005`` or ``0x50005``; else None."""
    match = re.fullmatch(r"\s*(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})\s*", text, flags=re.ASCII)
    return int(match.group(1), 16) if match else None


def parse_temperature(text: str) -> float | None:
    """°C of ``text`` in thousandths, ``48312``; None for what is not a chip's temperature."""
    match = re.fullmatch(r"\s*(-?[0-9]{1,7})\s*", text, flags=re.ASCII)
    degrees = int(match.group(1)) / 1000 if match else _PLAUSIBLE_C[1] + 1
    return degrees if _PLAUSIBLE_C[0] <= degrees <= _PLAUSIBLE_C[1] else None


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
            say(f"the chip is {_called(read)}: the budget for searches is lowered, to {share:.0%} so far")
        elif last.budget_share < 1 <= share:
            say(f"the chip is {_called(read)}: the budget for searches is whole again")


def _called(status: ChipStatus) -> str:
    degrees = [] if status.temperature_c is None else [f"at {status.temperature_c:.1f} °C"]
    return ", ".join([*degrees, *status.throttled]) or "well"


def _read_temperature(sysfs: Path) -> float | None:
    """That of the processor: by its name, else of a zone that could be it, else of the first that has one."""
    found: list[tuple[int, int, Path]] = []
    for zone in _matching(sysfs / "class" / "thermal", "thermal_zone*"):
        number = zone.name.removeprefix("thermal_zone")
        if number.isascii() and number.isdigit():
            found.append((_unlikely(_read(zone / "type") or ""), int(number), zone))
    for _, _, zone in sorted(found):
        degrees = parse_temperature(_read(zone / "temp") or "")
        if degrees is not None:
            return degrees
    return None


def _unlikely(kind: str) -> int:
    """0 for the name that a Pi's processor has, 1 for one that other processors have, 2 for any other."""
    kind = kind.strip().lower()
    if kind == "cpu-thermal":
        return 0
    return 1 if re.search(r"cpu|soc|x86_pkg|coretemp", kind) else 2


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except (OSError, ValueError):
        return []


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return stream.read(_LONGEST).decode("ascii")
    except (OSError, ValueError):  # ValueError: no text, or a name that no file can have
        return None
