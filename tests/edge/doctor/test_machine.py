"""``fer-edge doctor``: the checks of the machine itself: processor, memory, disk, temperature, firmware."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.doctor import machine
from fer_edge.doctor.checks import Context, Verdict
from support.devices.sysfs import FakeSysfs
from support.results.findings import assert_found, context_of

OK, WARN, BAD, SKIPPED = Verdict.OK, Verdict.WARN, Verdict.BAD, Verdict.SKIPPED


def test_this_python_is_ok() -> None:
    assert_found(machine.check_python(Context()), OK, "64 bit", sys.version.split()[0])


@pytest.mark.parametrize(
    ("line", "verdict", "said"),
    [
        ("Features\t: fp asimd evtstrm aes asimdhp asimddp", OK, "dot product: full int8 speed-up"),
        ("Features\t: fp asimd evtstrm crc32", OK, "without dot product"),
        ("flags\t\t: fpu sse2 avx2 avx512_vnni", OK, "VNNI: full int8 speed-up"),
        ("flags\t\t: fpu sse2 avx2", OK, "without VNNI"),
        ("flags\t\t: fpu sse2", WARN, "slow"),
        ("nothing", SKIPPED, "does not report"),
    ],
)
def test_the_processors_instructions(tmp_path: Path, line: str, verdict: Verdict, said: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n{line}\n")
    assert_found(machine.check_cpu(context_of(tmp_path)), verdict, said)


@pytest.mark.parametrize(("free", "verdict"), [(60, BAD), (150, WARN), (900, OK)])
def test_memory(tmp_path: Path, free: int, verdict: Verdict) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: {1024 * 1000} kB\nMemAvailable:  {1024 * free} kB\nHuge: x\n")
    assert_found(machine.check_memory(context_of(tmp_path)), verdict, f"{free} MiB of 1000 MiB")


@pytest.mark.parametrize(
    ("total", "free", "source", "verdict", "words"),
    [
        (None, None, 'uris = ["picamera2"]', SKIPPED, ["none"]),
        (65536, 1000, 'uris = ["0"]', OK, ["0 MiB of 64 MiB"]),
        (262144, 82800, 'uris = ["picamera2"]', OK, ["80 MiB of 256 MiB", "at 640x480 may need 24 MiB"]),
        (262144, 20000, 'uris = ["picamera2"]', WARN, ["19 MiB of 256 MiB", "Cannot allocate memory"]),
        (16384, 16000, 'uris = ["picamera2:0"]', BAD, ["15 MiB of 16 MiB", "24 MiB"]),
        (65536, 65000, 'uris = ["picamera2", "picamera2:1"]\nwidth = 1280\nheight = 960', BAD, ["2 cameras", "70 MiB"]),
    ],
)
def test_contiguous_memory_for_the_camera(
    tmp_path: Path, total: int | None, free: int | None, source: str, verdict: Verdict, words: list[str]
) -> None:
    """82,800 kB was reported by a Pi Zero 2 W with its camera open."""
    (tmp_path / "proc").mkdir()
    cma = "" if total is None else f"CmaTotal:  {total} kB\nCmaFree:    {free} kB\n"
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 426068 kB\n{cma}")
    context = context_of(tmp_path, f"[source]\n{source}\n")
    assert_found(machine.check_camera_memory(context), verdict, *words)


@given(content=st.binary(max_size=200))
def test_damaged_proc_files_do_not_raise(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.mktemp("proc")
    (root / "proc").mkdir()
    for name in ("cpuinfo", "meminfo"):
        (root / "proc" / name).write_bytes(content)
    assert machine.check_cpu(Context(root=root)).verdict in Verdict
    assert machine.check_memory(Context(root=root)).verdict in Verdict
    assert machine.check_camera_memory(Context(root=root)).verdict in Verdict


def test_disk(tmp_path: Path) -> None:
    assert_found(machine.check_disk(context_of(tmp_path)), SKIPPED)
    assert_found(machine.check_disk(context_of(tmp_path, '[output]\nevents = "-"')), SKIPPED)
    there = context_of(tmp_path, f'[output]\nevents = "{tmp_path}/e.jsonl"')
    assert machine.check_disk(there).verdict in (OK, WARN)
    missing = context_of(tmp_path, f'[output]\nevents = "{tmp_path}/none/e.jsonl"')
    assert_found(machine.check_disk(missing), BAD, "folder not found", f"mkdir -p {tmp_path}/none")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change the user")
def test_a_folder_of_another_user(tmp_path: Path) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "state"
        (folder / "sub").mkdir(parents=True)
        os.chown(folder, 1, 1)  # the user daemon, on every Debian
        folder.chmod(0o700)
        Path(name).chmod(0o755)
        contexts = [context_of(tmp_path, f'[output]\nevents = "{place}/e.jsonl"') for place in (folder, folder / "sub")]
        os.seteuid(65534)
        try:
            found = [machine.check_disk(context) for context in contexts]
        finally:
            os.seteuid(0)
    assert_found(found[0], BAD, "no write permission", "sudo -u daemon fer-edge doctor")
    assert_found(found[1], BAD, "Permission denied", "sudo -u daemon fer-edge doctor")


@pytest.mark.parametrize(("celsius", "verdict"), [(50, OK), (72, WARN), (85, BAD)])
def test_temperature(tmp_path: Path, celsius: float, verdict: Verdict) -> None:
    FakeSysfs(tmp_path).set_temperature(celsius)
    context = context_of(tmp_path, f'[chip]\nsysfs = "{tmp_path}"')
    assert_found(machine.check_temperature(context), verdict, f"{celsius:.1f} °C")


@pytest.mark.parametrize(
    ("bits", "verdict", "parts"),
    [(0, OK, []), (0x10000, WARN, ["under-voltage", "power supply"]), (0x40004, BAD, ["now: throttled", "fan"])],
)
def test_throttling(tmp_path: Path, bits: int, verdict: Verdict, parts: list[str]) -> None:
    context = context_of(tmp_path, f'[chip]\nsysfs = "{tmp_path}"')
    assert_found(machine.check_throttling(context), SKIPPED)
    FakeSysfs(tmp_path).set_throttled(bits)
    assert_found(machine.check_throttling(context), verdict, *parts)


@pytest.mark.parametrize("name", ["vcio_gencmd", "vcio"])
def test_a_firmware_that_does_not_answer_is_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / name).write_bytes(b"")
    assert_found(machine.check_throttling(Context(root=tmp_path)), WARN, name, "usermod -aG video")


def test_a_pi_without_the_firmwares_devices_is_reported(tmp_path: Path) -> None:
    assert_found(machine.check_throttling(Context(root=tmp_path)), SKIPPED)
    model = tmp_path / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    assert_found(machine.check_throttling(Context(root=tmp_path)), WARN, "vcio_gencmd", "full-upgrade")
