"""What of this machine explains a number: architecture, processor and versions; no name, serial or user."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from fer_bench.results import HostInfo

_RUNTIMES = ("ai-edge-litert", "tflite-runtime")
_CPU_KEYS = ("model name", "Model", "Hardware")
"""Lines of /proc/cpuinfo that name the chip or board: x86, then the Raspberry Pi's."""


def describe_host() -> HostInfo:
    """This machine."""
    return HostInfo(
        system=platform.system(),
        machine=platform.machine(),
        cpu=cpu_model(),
        python=platform.python_version(),
        runtime=next((f"{name} {found}" for name in _RUNTIMES if (found := _version(name))), "none"),
        numpy=_version("numpy") or "none",
    )


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's or board's model; ``platform.processor()`` where /proc does not say."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            found.setdefault(key.strip(), value.strip())
    return next((found[key] for key in _CPU_KEYS if key in found), platform.processor() or platform.machine())


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
