"""The state of the machine around a measurement, which may explain a bad number.

Everything is read below a root folder, ``/`` or the folder of a test. Unknown values are empty or None.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import get_args

from fer_bench.results.latency import Condition, CpuFrequency, MachineState, Temperature, ThrottleFlags

_CONDITIONS: tuple[Condition, ...] = get_args(Condition)
"""Bits 0 to 3 of `vcgencmd get_throttled`: now; 16 to 19: since boot.

https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
"""
_SINCE_BOOT = 16
_STAT_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first numbers in the first line of /proc/stat; guest time, which follows, is part of user."""
_VCGENCMD_TIMEOUT_S = 10


def read_machine_state(root: Path = Path("/")) -> MachineState:
    """Return the current frequency, governor, temperatures, throttling and load. Takes about 10 ms on a Pi."""
    return MachineState(
        frequencies=_frequencies(root),
        temperatures=_temperatures(root),
        throttled=_ask_vcgencmd(),
        throttle_count=_throttle_count(root),
        load_average=_load_average(root),
    )


def decode_throttled(answer: str) -> ThrottleFlags | None:
    """Decode the answer of `vcgencmd get_throttled` (``throttled=0x50005``); None for another answer."""
    match = re.fullmatch(r"throttled=(0x[0-9a-fA-F]{1,8})", answer.strip())
    if match is None:
        return None
    bits = int(match[1], 16)
    return ThrottleFlags(
        raw=f"{bits:#x}",
        now=tuple(name for bit, name in enumerate(_CONDITIONS) if bits >> bit & 1),
        since_boot=tuple(name for bit, name in enumerate(_CONDITIONS) if bits >> (bit + _SINCE_BOOT) & 1),
    )


class ThrottleWatch:
    """Detect whether the machine was throttled since the last call."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._flags, self._count = _ask_vcgencmd(), _throttle_count(root)

    def throttled(self) -> bool | None:
        """Return whether the machine was throttled since the last call; None if unknown.

        A condition between two calls sets a flag since boot, but only the first time. Later ones are seen only while
        they last.
        """
        flags_before, count_before = self._flags, self._count
        if flags_before is None and count_before is None:
            return None
        self._flags, self._count = _ask_vcgencmd(), _throttle_count(self._root)
        by_flags = by_count = False
        if self._flags is not None:
            known = set() if flags_before is None else set(flags_before.since_boot)
            by_flags = bool(self._flags.now) or not known.issuperset(self._flags.since_boot)
        if self._count is not None and count_before is not None:
            by_count = self._count > count_before
        return by_flags or by_count


class ProcessorWatch:
    """Measure how much processor time other processes use. They slow a measurement even if it never waits for a core,
    through caches, memory, clock and sibling threads."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._times, self._own_s = _processor_times(root), _own_cpu_s()

    def others_share(self) -> float | None:
        """Return the share 0..1 of all cores' time since the start that other processes used; None if unknown.

        Ended child processes count as own. Time that a hypervisor gave to other virtual machines (steal) counts as
        others'.
        """
        now, own_s = _processor_times(self._root), _own_cpu_s() - self._own_s
        if self._times is None or now is None:
            return None
        used, whole = (after - before for before, after in zip(self._times, now, strict=True))
        return min(1.0, max(0.0, (used - own_s) / whole)) if whole > 0 else None


def _processor_times(root: Path) -> tuple[float, float] | None:
    """Return the seconds since boot, summed over all cores, that were used or stolen, and all seconds: proc_stat(5)."""
    name, *fields = (_text(root / "proc/stat") or "").split()[:9] or [""]
    if name != "cpu" or len(fields) != len(_STAT_FIELDS) or not all(field.isdecimal() for field in fields):
        return None
    ticks = dict(zip(_STAT_FIELDS, map(int, fields), strict=True))
    whole = sum(ticks.values())
    per_second = os.sysconf("SC_CLK_TCK")
    return (whole - ticks["idle"] - ticks["iowait"]) / per_second, whole / per_second


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _frequencies(root: Path) -> tuple[CpuFrequency, ...]:
    """Return one entry for each group of cores with a common clock; a Pi has one group."""
    folders = (root / "sys/devices/system/cpu/cpufreq").glob("policy*")
    found = []
    for folder in sorted(folders, key=lambda path: (len(path.name), path.name)):
        current, highest = _integer(folder / "scaling_cur_freq"), _integer(folder / "cpuinfo_max_freq")
        found.append(
            CpuFrequency(
                name=folder.name,
                governor=_text(folder / "scaling_governor"),
                current_mhz=None if current is None else current / 1000,
                max_mhz=None if highest is None else highest / 1000,
            )
        )
    return tuple(found)


def _temperatures(root: Path) -> tuple[Temperature, ...]:
    """Return the sensors of hwmon and the thermal zones, which are often the same with another name."""
    found: list[tuple[str, int | None]] = []
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        for path in sorted(chip.glob("temp*_input")):
            number = path.name.removesuffix("_input")
            label = _text(chip / f"{number}_label") or number
            found.append((f"{_text(chip / 'name') or chip.name} {label}", _integer(path)))
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        found.append((f"{zone.name} {_text(zone / 'type') or ''}".strip(), _integer(zone / "temp")))
    return tuple(Temperature(name, millidegrees / 1000) for name, millidegrees in found if millidegrees is not None)


def _throttle_count(root: Path) -> int | None:
    """Return how often heat slowed x86 cores down since boot; None if the kernel does not count it."""
    paths = (root / "sys/devices/system/cpu").glob("cpu*/thermal_throttle/core_throttle_count")
    counts = [count for path in paths if (count := _integer(path)) is not None]
    return sum(counts) if counts else None


def _load_average(root: Path) -> tuple[float, float, float] | None:
    with suppress(ValueError):
        one, five, fifteen, *_ = (_text(root / "proc/loadavg") or "").split()
        return float(one), float(five), float(fifteen)
    return None


def _ask_vcgencmd() -> ThrottleFlags | None:
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [command, "get_throttled"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_VCGENCMD_TIMEOUT_S,
            check=True,
        )
        return decode_throttled(done.stdout)
    return None


def _text(path: Path) -> str | None:
    """Return the first line of a file of sysfs or procfs; None if it cannot be read now."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip() or None
    except OSError:  # a suspended sensor returns an error, too
        return None


def _integer(path: Path) -> int | None:
    try:
        return int(_text(path) or "")
    except ValueError:
        return None
