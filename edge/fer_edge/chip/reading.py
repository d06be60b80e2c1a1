"""Read the chip's temperature and throttling flags from sysfs and from the Pi's firmware."""

from __future__ import annotations

import re
from pathlib import Path

from fer_edge.chip.mailbox import query_throttled
from fer_edge.status import ChipStatus

FLAGS = (UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT) = (
    "under-voltage",
    "frequency capped",
    "throttled",
    "soft temperature limit",
)
"""Bits 0 to 3 of the firmware's flags. Bits 16 to 19 have the same meaning since boot,
https://www.raspberrypi.com/documentation/computers/os.html#get_throttled"""

_PLAUSIBLE_C = (-50.0, 150.0)
_FIRMWARE_FILES = ("devices/platform/soc/soc:firmware/get_throttled", "devices/platform/soc*/*firmware/get_throttled")
_MAX_BYTES = 64


def read_chip(sysfs: Path, devices: Path | None = None) -> ChipStatus:
    """Return the current state of the chip, with ``budget_share`` = 1. Takes about two milliseconds.

    Values that are missing or invalid become None, or flags that are not set; never raises for them.

    Args:
        sysfs: The folder of the kernel's sysfs.
        devices: The folder of the firmware's devices; None to read sysfs only.
    """
    bits = read_throttled(sysfs, devices) or 0
    return ChipStatus(_read_temperature(sysfs), named_flags(bits), named_flags(bits >> 16))


def read_throttled(sysfs: Path, devices: Path | None = None) -> int | None:
    """Return the firmware's flags as bits, None if they are not available. Arguments as in ``read_chip``."""
    queried = None if devices is None else query_throttled(devices)
    if queried is not None:
        return queried
    # After the mailbox, because the kernel logs a long warning when this deprecated file is read.
    for pattern in _FIRMWARE_FILES:
        for path in _matching(sysfs, pattern):
            bits = parse_throttled(_read(path))
            if bits is not None:
                return bits
    # The kernel's driver reports only under-voltage, within the last two seconds.
    for monitor in _matching(sysfs / "class" / "hwmon", "hwmon*"):
        if _read(monitor / "name").strip() == "rpi_volt":
            return int(_read(monitor / "in0_lcrit_alarm").strip() == "1")
    return None


def named_flags(bits: int) -> tuple[str, ...]:
    """Return the names of the flags set in bits 0 to 3."""
    return tuple(name for number, name in enumerate(FLAGS) if bits >> number & 1)


def parse_throttled(text: str) -> int | None:
    """Parse hexadecimal flags such as ``50005`` or ``0x50005``; return None if ``text`` is invalid."""
    match = re.fullmatch(r"\s*(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})\s*", text, flags=re.ASCII)
    return int(match.group(1), 16) if match else None


def parse_temperature(text: str) -> float | None:
    """Parse millidegrees such as ``48312`` and return °C; None if invalid or not plausible for a chip."""
    match = re.fullmatch(r"\s*(-?[0-9]{1,7})\s*", text, flags=re.ASCII)
    degrees = int(match.group(1)) / 1000 if match else _PLAUSIBLE_C[1] + 1
    return degrees if _PLAUSIBLE_C[0] <= degrees <= _PLAUSIBLE_C[1] else None


def _read_temperature(sysfs: Path) -> float | None:
    """Return the temperature of the zone that is most likely the processor's."""
    zones = [
        (_rank(_read(zone / "type")), int(number), zone)
        for zone in _matching(sysfs / "class" / "thermal", "thermal_zone*")
        if (number := zone.name.removeprefix("thermal_zone")).isascii() and number.isdigit()
    ]
    readings = (parse_temperature(_read(zone / "temp")) for _, _, zone in sorted(zones))
    return next((degrees for degrees in readings if degrees is not None), None)


def _rank(kind: str) -> int:
    """Return 0 for the zone of a Pi's processor, 1 for zones of other processors, 2 for any other."""
    kind = kind.strip().lower()
    if kind == "cpu-thermal":
        return 0
    return 1 if re.search(r"cpu|soc|x86_pkg|coretemp", kind) else 2


def _matching(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except (OSError, ValueError):
        return []


def _read(path: Path) -> str:
    """Return the start of the file, or "" if it cannot be read or is not text."""
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_BYTES).decode("ascii")
    except (OSError, ValueError):  # ValueError: not ASCII, or an invalid path
        return ""
