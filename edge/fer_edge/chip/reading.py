"""The processor's temperature and throttling flags, read from the kernel's files and the Pi's firmware."""

from __future__ import annotations

import re
from pathlib import Path

from fer_edge.chip.mailbox import ask_throttled
from fer_edge.status import ChipStatus

FLAGS = (UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT) = (
    "under-voltage",
    "frequency capped",
    "throttled",
    "soft temperature limit",
)
"""Bits 0 to 3 of the firmware's flags; bits 16 to 19 are the same since the chip was switched on,
https://www.raspberrypi.com/documentation/computers/os.html#get_throttled"""

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
