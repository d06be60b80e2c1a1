"""Checks of the machine: Python, processor, memory, disk, clock, temperature."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import sys
from pathlib import Path

from fer_edge.chip.mailbox import GENCMD, MAILBOX, query_throttled
from fer_edge.doctor.checks import (
    Context,
    Finding,
    Verdict,
    access_advice,
    bad,
    has_access,
    memory_mib,
    ok,
    read_text,
    skipped,
    user_name,
    warn,
)
from fer_edge.settings.service import ChipSettings

_PYTHONS = ((3, 11), (3, 13))
_MIN_MEMORY_MIB, _RECOMMENDED_MEMORY_MIB = 110, 200
"""A run with one camera needs about 90 MiB; twice that leaves room for the page, MQTT and the system."""
_MIN_DISK_MIB, _RECOMMENDED_DISK_MIB = 10, 200
_RAW_CAMERA_MIB = 20
"""libcamera allocates four raw buffers (pipeline/rpi/vc4); 2028x1520 at 12 bit (HQ camera) takes 4.5 MiB each."""
_STREAM_BYTES_PER_PIXEL = 12
"""Two YUV420 streams (1.5 bytes per pixel) with four buffers each."""
_PI_CAMERA_SIZE = (640, 480)


def check_python(context: Context) -> Finding:
    """Check the version of Python, and that it is a 64-bit build."""
    version = platform.python_version()
    seen = f"{version}, {64 if sys.maxsize > 2**32 else 32} bit, {platform.machine()}"
    if sys.maxsize <= 2**32:
        return bad(f"{seen}: LiteRT requires 64 bit", "install 64-bit Raspberry Pi OS")
    if not _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return bad(f"{seen}: requires 3.11 to 3.13", "python3.13 -m venv .venv, and install fer-edge in it")
    return ok(seen)


def check_cpu(context: Context) -> Finding:
    """Check for processor instructions that speed up int8 models."""
    listed = re.search(r"^(?:flags|Features)\s*:(.*)", read_text(context.root / "proc/cpuinfo"), flags=re.MULTILINE)
    if listed is None:
        return skipped("the system does not report the processor's instructions")
    words = listed[1].split()
    for word, meaning in (
        ("asimddp", "NEON with dot product: full int8 speed-up"),
        ("avx512_vnni", "AVX-512 VNNI: full int8 speed-up"),
        ("avx_vnni", "AVX VNNI: full int8 speed-up"),
        ("avx2", "AVX2 without VNNI: some int8 speed-up"),
        ("asimd", "NEON without dot product (as on Pi 3, Zero 2 W and 4): some int8 speed-up"),
    ):
        if word in words:
            return ok(meaning)
    return warn("neither NEON nor AVX2: the model will be slow", "fer-edge bench latency measures it")


def check_memory(context: Context) -> Finding:
    """Check the available memory."""
    memory = memory_mib(context.root)
    if "MemAvailable" not in memory:
        return skipped("the system does not report it")
    free, total = memory["MemAvailable"], memory.get("MemTotal", 0)
    seen = f"{free} MiB of {total} MiB available"
    if free < _MIN_MEMORY_MIB:
        return bad(f"{seen}; a run needs about {_MIN_MEMORY_MIB}", "stop other programs: ps aux --sort -rss | head")
    if free < _RECOMMENDED_MEMORY_MIB:
        return warn(f"{seen}, which is low", "stop other programs: ps aux --sort -rss | head")
    return ok(seen)


def check_camera_memory(context: Context) -> Finding:
    """Check the contiguous memory (CMA), which Raspberry Pi cameras use for their buffers."""
    memory = memory_mib(context.root)
    if "CmaTotal" not in memory or "CmaFree" not in memory:
        return skipped("this kernel reports none; only a Raspberry Pi camera needs it")
    free, total = memory["CmaFree"], memory["CmaTotal"]
    seen = f"{free} MiB of {total} MiB free"
    source = context.settings.source
    cameras = sum(uri.partition(":")[0] == "picamera2" for uri in context.settings.uris)
    if not cameras:
        return ok(f"{seen}; only a Raspberry Pi camera needs it")
    width, height = source.width or _PI_CAMERA_SIZE[0], source.height or _PI_CAMERA_SIZE[1]
    needed = cameras * (_RAW_CAMERA_MIB + -(-_STREAM_BYTES_PER_PIXEL * width * height // 2**20))
    demand = f"{'a camera' if cameras == 1 else f'{cameras} cameras'} at {width}x{height} may need {needed} MiB"
    if total < needed:
        return bad(
            f"{seen}; {demand}",
            "set dtoverlay=vc4-kms-v3d,cma-128 in /boot/firmware/config.txt, and restart",
        )
    if free < needed:
        return warn(
            f"{seen}; {demand}, and opening it may fail with 'Cannot allocate memory'",
            "none needed if the camera is open already; otherwise stop programs that use a camera or the display",
        )
    return ok(f"{seen}; {demand}")


def check_disk(context: Context) -> Finding:
    """Check free space and permissions of the folders of output files."""
    output = context.settings.output
    names = [output.events if output.events != "-" else None, output.trace, output.stats, output.annotate]
    folders = {Path(name).absolute().parent for name in names if name is not None}
    if not folders:
        return skipped("no output is written to a file")
    findings = [_check_folder(folder) for folder in sorted(folders)]
    worst = min(findings, key=lambda finding: (Verdict.BAD, Verdict.WARN, Verdict.OK).index(finding.verdict))
    return ok("; ".join(finding.seen for finding in findings)) if worst.verdict is Verdict.OK else worst


def _check_folder(folder: Path) -> Finding:
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        return bad(f"{folder}: folder not found", f"mkdir -p {folder}")
    except OSError as error:
        return bad(f"{folder}: {error.strerror}", access_advice(folder))
    if not stat.S_ISDIR(mode):
        return bad(f"{folder}: not a folder", "choose another path")
    if not has_access(folder, os.W_OK | os.X_OK):
        return bad(f"{folder}: no write permission", access_advice(folder))
    free = shutil.disk_usage(folder).free // 2**20
    seen = f"{folder}: {free} MiB free"
    if free < _MIN_DISK_MIB:
        return bad(seen, f"free space: du -xh {folder} | sort -h | tail")
    return warn(seen, "set output.events_max_mib, or free space") if free < _RECOMMENDED_DISK_MIB else ok(seen)


def check_clock(context: Context) -> Finding:
    """Check whether the clock is synchronized."""
    from fer_edge.system.clock import clock_synced

    synced = clock_synced()
    if synced is None:
        return skipped("the system does not report whether its clock is synchronized")
    if not synced:
        return warn("not synchronized: times of events may be wrong", "sudo timedatectl set-ntp true")
    return ok("synchronized")


def check_temperature(context: Context) -> Finding:
    """Check the temperature of the chip against ``chip.warm_c`` and ``chip.hot_c``."""
    from fer_edge.chip.reading import read_chip

    chip = context.settings.chip
    celsius = read_chip(Path(chip.sysfs)).temperature_c
    if celsius is None:
        return skipped(f"{chip.sysfs} has no temperature")
    if celsius >= chip.hot_c:
        return bad(f"{celsius:.1f} °C: the search budget is at its minimum", "add a heat sink or a fan")
    if celsius >= chip.warm_c:
        return warn(f"{celsius:.1f} °C: the search budget is lowered", "add a heat sink or a fan")
    return ok(f"{celsius:.1f} °C")


def check_throttling(context: Context) -> Finding:
    """Check whether the firmware of a Raspberry Pi throttles the chip, now or since boot."""
    from fer_edge.chip.reading import UNDER_VOLTAGE, named_flags, read_throttled

    sysfs, devices = context.settings.chip.sysfs, context.root / "dev"
    bits = query_throttled(devices) if sysfs == ChipSettings().sysfs else None
    if bits is None and sysfs == ChipSettings().sysfs:
        existing = [str(devices / name) for name in (GENCMD, MAILBOX) if (devices / name).exists()]
        if existing:
            return warn(
                f"the firmware does not answer: {' and '.join(existing)} cannot be opened or rejects the request",
                f"sudo usermod -aG video {user_name()}, then log in again",
            )
        if "Raspberry Pi" in read_text(context.root / "proc/device-tree/model"):
            return warn(
                f"the firmware cannot be queried: this Pi has neither {devices / GENCMD} nor {devices / MAILBOX}",
                "sudo apt full-upgrade, then restart; in a container, map the device",
            )
    if bits is None:
        bits = read_throttled(Path(sysfs))
    if bits is None:
        return skipped("neither the kernel nor the firmware reports it")
    now, before = named_flags(bits), named_flags(bits >> 16)
    supply = UNDER_VOLTAGE in (*now, *before)
    fix = "use the official power supply for this model" if supply else "add a heat sink or a fan"
    if now:
        return bad(f"now: {', '.join(now)}", fix)
    if before:
        return warn(f"since boot: {', '.join(before)}", fix)
    return ok("not throttled")
