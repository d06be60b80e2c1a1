"""The machine: interpreter, processor, memory, disk, clock, heat."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from pathlib import Path

from fer_edge.chip.mailbox import GENCMD, MAILBOX, ask_throttled
from fer_edge.doctor.checks import Case, Finding, Verdict, as_owner, broken, doubtful, fine, may, skipped, user_name
from fer_edge.settings.service import ChipSettings

_PYTHONS = ((3, 11), (3, 13))
_NEEDED_MIB, _EASY_MIB = 110, 200
"""A run on one camera takes some 90 MiB; twice that leaves room for a page, a broker and the system's own."""
_LEAST_FREE_MIB, _EASY_FREE_MIB = 10, 200
_RAW_CAMERA_MIB = 20
"""libcamera has at least four raw buffers (pipeline/rpi/vc4); the HQ camera's 2028x1520 at 12 bit take 4.5 MiB each."""
_STREAM_BYTES_PER_PIXEL = 12
"""Two YUV420 streams (1.5 bytes) of four buffers each."""
_PI_CAMERA_SIZE = (640, 480)


def look_at_python(case: Case) -> Finding:
    """Version and width of addresses."""
    version = platform.python_version()
    seen = f"{version}, {64 if sys.maxsize > 2**32 else 32} bit, {platform.machine()}"
    if sys.maxsize <= 2**32:
        return broken(f"{seen}: there is no LiteRT for 32 bit", "write a card with the 64-bit Raspberry Pi OS")
    if not _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return broken(f"{seen}: wants 3.11 to 3.13", "python3.13 -m venv .venv, and install fer-edge in there")
    return fine(seen)


def look_at_cpu(case: Case) -> Finding:
    """The instructions that int8 gains from."""
    words = _processor_words(case.root / "proc" / "cpuinfo")
    if words is None:
        return skipped("the system does not tell what the processor can")
    for word, told in (
        *(("asimddp", "NEON with dot product: int8 at its best"), ("avx512_vnni", "AVX-512 VNNI: int8 at its best")),
        *(("avx_vnni", "AVX VNNI: int8 at its best"), ("avx2", "AVX2, no VNNI: int8 gains something")),
        ("asimd", "NEON, no dot product (as on Pi 3, Zero 2 W and 4): int8 gains something"),
    ):
        if word in words:
            return fine(told)
    return doubtful("neither NEON nor AVX2: the model will be slow", "fer-edge bench latency tells how slow")


def look_at_memory(case: Case) -> Finding:
    """What is left for one more program."""
    table = _numbers(case.root / "proc" / "meminfo")
    if "MemAvailable" not in table:
        return skipped("the system does not tell")
    free, total = table["MemAvailable"] // 1024, table.get("MemTotal", 0) // 1024
    seen = f"{free} MiB of {total} MiB available"
    if free < _NEEDED_MIB:
        return broken(f"{seen}; a run needs some {_NEEDED_MIB}", "stop other programs: ps aux --sort -rss | head")
    if free < _EASY_MIB:
        return doubtful(f"{seen}, which is little", "stop other programs: ps aux --sort -rss | head")
    return fine(seen)


def look_at_camera_memory(case: Case) -> Finding:
    """Report the contiguous memory (CMA), from which the buffers of a Raspberry Pi camera come."""
    table = _numbers(case.root / "proc" / "meminfo")
    if "CmaTotal" not in table or "CmaFree" not in table:
        return skipped("this kernel reports none; only a Raspberry Pi camera needs it")
    free, total = table["CmaFree"] // 1024, table["CmaTotal"] // 1024
    seen = f"{free} MiB of {total} MiB free"
    source = case.settings.source
    cameras = sum(uri.partition(":")[0] == "picamera2" for uri in source.uris)
    if not cameras:
        return fine(f"{seen}; only a Raspberry Pi camera needs it")
    width, height = source.width or _PI_CAMERA_SIZE[0], source.height or _PI_CAMERA_SIZE[1]
    needed = cameras * (_RAW_CAMERA_MIB + -(-_STREAM_BYTES_PER_PIXEL * width * height // 2**20))
    wanted = f"{'a camera' if cameras == 1 else f'{cameras} cameras'} at {width}x{height} may need {needed} MiB"
    if total < needed:
        return broken(
            f"{seen}; {wanted}",
            "give dtoverlay=vc4-kms-v3d the parameter cma-128 in /boot/firmware/config.txt, and restart",
        )
    if free < needed:
        return doubtful(
            f"{seen}; {wanted}, and opening it may fail with 'Cannot allocate memory'",
            "nothing if the camera is open already; else stop other programs that use a camera or the display",
        )
    return fine(f"{seen}; {wanted}")


def look_at_disk(case: Case) -> Finding:
    """Room and permission where outputs are written."""
    output = case.settings.output
    names = [output.events if output.events != "-" else None, output.trace, output.stats, output.annotate]
    folders = {Path(name).absolute().parent for name in names if name is not None}
    if not folders:
        return skipped("nothing is written to a file")
    findings = [_judge_folder(folder) for folder in sorted(folders)]
    worst = next((finding for finding in findings if finding.verdict is Verdict.BAD), None)
    worst = worst or next((finding for finding in findings if finding.verdict is Verdict.WARN), None)
    return worst or fine("; ".join(finding.seen for finding in findings))


def _judge_folder(folder: Path) -> Finding:
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        return broken(f"{folder}: no such folder", f"mkdir -p {folder}")
    except OSError as error:
        return broken(f"{folder}: {error.strerror}", as_owner(folder))
    if not stat.S_ISDIR(mode):
        return broken(f"{folder}: is no folder", "name another file")
    if not may(folder, os.W_OK | os.X_OK):
        return broken(f"{folder}: may not be written to", as_owner(folder))
    free = shutil.disk_usage(folder).free // 2**20
    seen = f"{folder}: {free} MiB free"
    if free < _LEAST_FREE_MIB:
        return broken(seen, f"free some space: du -xh {folder} | sort -h | tail")
    return doubtful(seen, "set output.events_max_mib, or free some space") if free < _EASY_FREE_MIB else fine(seen)


def look_at_clock(case: Case) -> Finding:
    """Whether the times of events can be trusted."""
    from fer_edge.sinks.event_json import clock_synced

    synced = clock_synced()
    if synced is None:
        return skipped("the system does not tell whether its clock is synchronized")
    if not synced:
        return doubtful("not synchronized: events carry times that may be wrong", "sudo timedatectl set-ntp true")
    return fine("synchronized")


def look_at_temperature(case: Case) -> Finding:
    """The chip's temperature against the limits of the settings."""
    from fer_edge.chip.reading import read_chip

    chip = case.settings.chip
    celsius = read_chip(Path(chip.sysfs)).temperature_c
    if celsius is None:
        return skipped(f"nothing in {chip.sysfs} tells it")
    if celsius >= chip.hot_c:
        return broken(f"{celsius:.1f} °C: the budget for searches is at its lowest", "give it a heat sink or a fan")
    if celsius >= chip.warm_c:
        return doubtful(f"{celsius:.1f} °C: the budget for searches is lowered", "give it a heat sink or a fan")
    return fine(f"{celsius:.1f} °C")


def look_at_throttling(case: Case) -> Finding:
    """What the firmware of a Raspberry Pi slows down for."""
    from fer_edge.chip.reading import UNDER_VOLTAGE, named_flags, read_throttled

    sysfs, devices = case.settings.chip.sysfs, case.root / "dev"
    asked = None
    if sysfs == ChipSettings().sysfs:
        asked = ask_throttled(devices)
        there = [str(devices / name) for name in (GENCMD, MAILBOX) if (devices / name).exists()]
        if asked is None and there:
            return doubtful(
                f"the firmware does not answer: {' and '.join(there)} cannot be opened, or refused",
                f"sudo usermod -aG video {user_name()}, then log in again",
            )
        if asked is None and _is_a_pi(case):
            return doubtful(
                f"the firmware cannot be asked: this Pi has neither {devices / GENCMD} nor {devices / MAILBOX}",
                "sudo apt full-upgrade, then restart; in a container, pass the device in",
            )
    bits = asked if asked is not None else read_throttled(Path(sysfs))
    if bits is None:
        return skipped("neither kernel nor firmware tells")
    now, before = named_flags(bits), named_flags(bits >> 16)
    supply = UNDER_VOLTAGE in (*now, *before)
    mend = "use the power supply made for this Pi" if supply else "give it a heat sink or a fan"
    if now:
        return broken(f"now: {', '.join(now)}", mend)
    if before:
        return doubtful(f"since it was switched on: {', '.join(before)}", mend)
    return fine("nothing slows it down")


def _is_a_pi(case: Case) -> bool:
    try:
        return b"Raspberry Pi" in (case.root / "proc" / "device-tree" / "model").read_bytes()
    except OSError:
        return False


def _processor_words(path: Path) -> set[str] | None:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    pairs = [line.partition(":") for line in lines]
    listed = [words for key, _, words in pairs if key.strip() in ("flags", "Features")]
    return set(listed[0].split()) if listed else None


def _numbers(path: Path) -> dict[str, int]:
    """The lines ``Name:   123 kB`` of a file in /proc."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = [(name, rest.split()) for name, _, rest in (line.partition(":") for line in lines)]
    return {name: int(words[0]) for name, words in pairs if words and words[0].isascii() and words[0].isdigit()}
