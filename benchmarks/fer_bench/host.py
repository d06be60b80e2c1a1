"""Describe this machine as far as it explains a number: processor and versions, but no name, serial or user."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from fer_bench.results import HostInfo

_RUNTIMES = ("ai-edge-litert", "tflite-runtime")
_CPU_KEYS = ("model name", "Model", "Hardware")
"""Lines of /proc/cpuinfo that name the chip or board: x86, then the Raspberry Pi's."""


_FLAG_KEYS = ("flags", "Features")
_INT8_INSTRUCTIONS = ("avx_vnni", "avx512_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm", "svei8mm")
"""Linux's names of integer dot products: Intel's and AMD's, then Arm's (a Pi 5 has asimddp, a Pi 4 none of them)."""
_CPUINFO = Path("/proc/cpuinfo")


def describe_host() -> HostInfo:
    """Return the description of this machine."""
    return HostInfo(
        system=platform.system(),
        machine=platform.machine(),
        cpu=cpu_model(),
        python=platform.python_version(),
        runtime=next((f"{name} {found}" for name in _RUNTIMES if (found := _version(name))), "none"),
        numpy=_version("numpy") or "none",
        int8_instructions=int8_instructions(),
    )


def cpu_model(cpuinfo: Path = _CPUINFO) -> str:
    """Return the model of the processor or board; ``platform.processor()`` if /proc does not contain it."""
    found = _entries(cpuinfo)
    return next((found[key] for key in _CPU_KEYS if key in found), platform.processor() or platform.machine())


def int8_instructions(cpuinfo: Path = _CPUINFO) -> tuple[str, ...]:
    """Return Linux's names of the processor's integer dot products; empty if unknown."""
    found = _entries(cpuinfo)
    flags = {flag for key in _FLAG_KEYS for flag in found.get(key, "").split()}
    return tuple(name for name in _INT8_INSTRUCTIONS if name in flags)


def _entries(cpuinfo: Path) -> dict[str, str]:
    """Return the first value of each key; all cores are assumed to be the same."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            found.setdefault(key.strip(), value.strip())
    return found


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
