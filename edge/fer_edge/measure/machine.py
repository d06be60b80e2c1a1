"""Describe a machine for `fer-edge bench`: versions, files of the kernel, throttling, processor time.

All values are raw. ``fer_bench`` evaluates them, in the same way for this machine and for a device.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from msgspec import Struct

_PACKAGES = ("ai-edge-litert", "tflite-runtime", "numpy")
_VCGENCMD_TIMEOUT_S = 10
_MAX_CHARACTERS = 2**16
"""Read of one file: /proc/cpuinfo has some 1,000 characters for each core, the others a line."""


class MachineFacts(Struct, frozen=True):
    """System, versions and number of usable cores of a machine; ``packages`` has the version of each installed one."""

    system: str
    machine: str
    processor: str
    python: str
    packages: dict[str, str]
    cores: int


def describe_machine() -> MachineFacts:
    """Return the description of this machine."""
    packages = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return MachineFacts(
        platform.system(), platform.machine(), platform.processor(), platform.python_version(), packages, cores
    )


def read_files(patterns: Iterable[str], root: Path = Path("/")) -> dict[str, str]:
    """Return the text of each readable file below ``root`` that a glob pattern matches, by its path from there."""
    found = {}
    for pattern in patterns:
        for path in root.glob(pattern):
            with suppress(OSError), path.open(encoding="utf-8", errors="replace") as stream:  # a suspended sensor
                found[path.relative_to(root).as_posix()] = stream.read(_MAX_CHARACTERS)
    return found


def ask_vcgencmd() -> str | None:
    """Return the answer of ``vcgencmd get_throttled`` on a Raspberry Pi; None if there is none."""
    with suppress(OSError, subprocess.SubprocessError):  # FileNotFoundError on other machines
        done = subprocess.run(
            ["vcgencmd", "get_throttled"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_VCGENCMD_TIMEOUT_S,
            check=True,
        )
        return done.stdout
    return None


def own_cpu_s() -> float:
    """Return the processor time of this process and its ended child processes, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
