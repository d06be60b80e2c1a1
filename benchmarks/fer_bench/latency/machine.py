"""The state of a machine around a measurement, which may explain a bad number.

Unknown values are empty or None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Protocol, get_args

from fer_bench.results.latency import Condition, CpuFrequency, MachineState, Temperature, ThrottleFlags
from fer_edge.measure.machine import ask_vcgencmd, own_cpu_s, read_files

_CONDITIONS: tuple[Condition, ...] = get_args(Condition)
"""Bits 0 to 3 of `vcgencmd get_throttled`: now; 16 to 19: since boot.

https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
"""
_SINCE_BOOT = 16
_STAT_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first numbers in the first line of /proc/stat; guest time, which follows, is part of user."""
_TICKS_PER_S = 100
"""USER_HZ, the unit of /proc/stat: 100 on x86-64 and on arm64, whatever the machine of the bench is."""
_CPU = "sys/devices/system/cpu"
_FREQUENCY = "scaling_governor", "scaling_cur_freq", "cpuinfo_max_freq"
_FREQUENCIES = tuple(f"{_CPU}/cpufreq/policy*/{name}" for name in _FREQUENCY)
_SENSORS = tuple(f"sys/class/hwmon/hwmon*/{name}" for name in ("name", "temp*_input", "temp*_label"))
_ZONES = tuple(f"sys/class/thermal/thermal_zone*/{name}" for name in ("type", "temp"))
_THROTTLE_COUNTS = f"{_CPU}/cpu*/thermal_throttle/core_throttle_count"
_LOAD, _STAT = "proc/loadavg", "proc/stat"


class Machine(Protocol):
    """A machine that measures, and its state: ``ThisMachine``, or a device."""

    def files(self, *patterns: str) -> Mapping[str, str]:
        """Return the text of each file that one of the glob ``patterns`` matches, by its path without the first /."""
        ...

    def vcgencmd(self) -> str | None:
        """Return the answer of ``vcgencmd get_throttled``; None if there is none."""
        ...

    def own_cpu_s(self) -> float:
        """Return the processor time of the process that measures and its ended child processes, in seconds."""
        ...


class ThisMachine:
    """This machine. Files are read below ``root``: ``/``, or the folder of a test."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def files(self, *patterns: str) -> Mapping[str, str]:
        """See ``Machine.files``."""
        return read_files(patterns, self._root)

    def vcgencmd(self) -> str | None:
        """See ``Machine.vcgencmd``."""
        return ask_vcgencmd()

    def own_cpu_s(self) -> float:
        """See ``Machine.own_cpu_s``."""
        return own_cpu_s()


THIS_MACHINE = ThisMachine()


def read_machine_state(machine: Machine = THIS_MACHINE) -> MachineState:
    """Return the current frequency, governor, temperatures, throttling and load. Takes about 10 ms on a Pi."""
    files = machine.files(*_FREQUENCIES, *_SENSORS, *_ZONES, _THROTTLE_COUNTS, _LOAD)
    return MachineState(
        frequencies=_frequencies(files),
        temperatures=_temperatures(files),
        throttled=_flags(machine),
        throttle_count=_throttle_count(files),
        load_average=_load_average(files),
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

    def __init__(self, machine: Machine = THIS_MACHINE) -> None:
        self._machine = machine
        self._flags, self._count = self._read()

    def throttled(self) -> bool | None:
        """Return whether the machine was throttled since the last call; None if unknown.

        A condition between two calls sets a flag since boot, but only the first time. Later ones are seen only while
        they last.
        """
        flags_before, count_before = self._flags, self._count
        if flags_before is None and count_before is None:
            return None
        self._flags, self._count = self._read()
        by_flags = by_count = False
        if self._flags is not None:
            known = set() if flags_before is None else set(flags_before.since_boot)
            by_flags = bool(self._flags.now) or not known.issuperset(self._flags.since_boot)
        if self._count is not None and count_before is not None:
            by_count = self._count > count_before
        return by_flags or by_count

    def _read(self) -> tuple[ThrottleFlags | None, int | None]:
        return _flags(self._machine), _throttle_count(self._machine.files(_THROTTLE_COUNTS))


class ProcessorWatch:
    """Measure how much processor time other processes use. They slow a measurement even if it never waits for a core,
    through caches, memory, clock and sibling threads."""

    def __init__(self, machine: Machine = THIS_MACHINE) -> None:
        self._machine = machine
        self._times, self._own_s = _processor_times(machine), machine.own_cpu_s()

    def others_share(self) -> float | None:
        """Return the share 0..1 of all cores' time since the start that other processes used; None if unknown.

        Ended child processes count as own. Time that a hypervisor gave to other virtual machines (steal) counts as
        others'.
        """
        now, own_s = _processor_times(self._machine), self._machine.own_cpu_s() - self._own_s
        if self._times is None or now is None:
            return None
        used, whole = (after - before for before, after in zip(self._times, now, strict=True))
        return min(1.0, max(0.0, (used - own_s) / whole)) if whole > 0 else None


def _processor_times(machine: Machine) -> tuple[float, float] | None:
    """Return the seconds since boot, summed over all cores, that were used or stolen, and all seconds: proc_stat(5)."""
    name, *fields = (_text(machine.files(_STAT), _STAT) or "").split()[:9] or [""]
    if name != "cpu" or len(fields) != len(_STAT_FIELDS) or not all(field.isdecimal() for field in fields):
        return None
    ticks = dict(zip(_STAT_FIELDS, map(int, fields), strict=True))
    whole = sum(ticks.values())
    return (whole - ticks["idle"] - ticks["iowait"]) / _TICKS_PER_S, whole / _TICKS_PER_S


def _frequencies(files: Mapping[str, str]) -> tuple[CpuFrequency, ...]:
    """Return one entry for each group of cores with a common clock; a Pi has one group."""
    folders = {str(PurePosixPath(name).parent) for name in files if PurePosixPath(name).name in _FREQUENCY}
    found = []
    for folder in sorted(folders, key=lambda folder: (len(folder), folder)):
        governor, *speeds = (f"{folder}/{name}" for name in _FREQUENCY)
        current, highest = (_integer(files, name) for name in speeds)
        found.append(
            CpuFrequency(
                name=PurePosixPath(folder).name,
                governor=_text(files, governor),
                current_mhz=None if current is None else current / 1000,
                max_mhz=None if highest is None else highest / 1000,
            )
        )
    return tuple(found)


def _temperatures(files: Mapping[str, str]) -> tuple[Temperature, ...]:
    """Return the sensors of hwmon and the thermal zones, which are often the same with another name."""
    sensors, zones = [], []
    for name in sorted(files, key=lambda name: PurePosixPath(name).parts):
        folder = PurePosixPath(name).parent
        celsius = _integer(files, name)
        if celsius is None:
            continue
        if PurePosixPath(name).match("hwmon*/temp*_input"):
            number = PurePosixPath(name).name.removesuffix("_input")
            label = _text(files, f"{folder}/{number}_label") or number
            sensors.append(Temperature(f"{_text(files, f'{folder}/name') or folder.name} {label}", celsius / 1000))
        elif PurePosixPath(name).match("thermal_zone*/temp"):
            sensor = f"{folder.name} {_text(files, f'{folder}/type') or ''}".strip()
            zones.append(Temperature(sensor, celsius / 1000))
    return (*sensors, *zones)


def _throttle_count(files: Mapping[str, str]) -> int | None:
    """Return how often heat slowed x86 cores down since boot; None if the kernel does not count it."""
    paths = (name for name in files if PurePosixPath(name).match(_THROTTLE_COUNTS))
    counts = [count for name in paths if (count := _integer(files, name)) is not None]
    return sum(counts) if counts else None


def _load_average(files: Mapping[str, str]) -> tuple[float, float, float] | None:
    with suppress(ValueError):
        one, five, fifteen, *_ = (_text(files, _LOAD) or "").split()
        return float(one), float(five), float(fifteen)
    return None


def _flags(machine: Machine) -> ThrottleFlags | None:
    return decode_throttled(machine.vcgencmd() or "")


def _text(files: Mapping[str, str], name: str) -> str | None:
    """Return the first line of a file of sysfs or procfs; None without it, or if it is blank."""
    return files.get(name, "").partition("\n")[0].strip() or None


def _integer(files: Mapping[str, str], name: str) -> int | None:
    try:
        return int(_text(files, name) or "")
    except ValueError:
        return None
