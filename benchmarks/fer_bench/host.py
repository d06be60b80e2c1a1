"""Describe a machine as far as it explains a number: processor and versions, but no name, serial or user."""

from __future__ import annotations

from fer_bench.results import HostInfo
from fer_edge.measure.machine import MachineFacts, describe_machine, read_files

_RUNTIMES = ("ai-edge-litert", "tflite-runtime")
_CPU_KEYS = ("model name", "Model", "Hardware")
"""Lines of /proc/cpuinfo that name the chip or board: x86, then the Raspberry Pi's."""
_FLAG_KEYS = ("flags", "Features")
_INT8_INSTRUCTIONS = ("avx_vnni", "avx512_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm", "svei8mm")
"""Linux's names of integer dot products: Intel's and AMD's, then Arm's (a Pi 5 has asimddp, a Pi 4 none of them)."""
CPUINFO = "proc/cpuinfo"


def describe_host() -> HostInfo:
    """Return the description of this machine."""
    return describe(describe_machine(), read_files([CPUINFO]).get(CPUINFO, ""))


def describe(facts: MachineFacts, cpuinfo: str) -> HostInfo:
    """Return the description of the machine with these ``facts`` and this text in ``CPUINFO``, "" if it has none."""
    return HostInfo(
        system=facts.system,
        machine=facts.machine,
        cpu=cpu_model(cpuinfo) or facts.processor or facts.machine,
        python=facts.python,
        runtime=next((f"{name} {facts.packages[name]}" for name in _RUNTIMES if name in facts.packages), "none"),
        numpy=facts.packages.get("numpy", "none"),
        int8_instructions=int8_instructions(cpuinfo),
    )


def cpu_model(cpuinfo: str) -> str:
    """Return the model of the processor or board; "" if ``cpuinfo`` does not contain it."""
    found = _entries(cpuinfo)
    return next((found[key] for key in _CPU_KEYS if key in found), "")


def int8_instructions(cpuinfo: str) -> tuple[str, ...]:
    """Return Linux's names of the processor's integer dot products; empty if unknown."""
    found = _entries(cpuinfo)
    flags = {flag for key in _FLAG_KEYS for flag in found.get(key, "").split()}
    return tuple(name for name in _INT8_INSTRUCTIONS if name in flags)


def _entries(cpuinfo: str) -> dict[str, str]:
    """Return the first value of each key; all cores are assumed to be the same."""
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            found.setdefault(key.strip(), value.strip())
    return found
