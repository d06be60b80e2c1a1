"""The events file: rotation, full and read-only file systems, and kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import OutputError
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.service import OutputSettings, RecoverySettings
from fer_edge.sinks import open_sinks
from fer_edge.sinks.line_file import LineFile
from fer_edge.status import SinkStatus, StatusBoard
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import clean_environment, command_line, lines_of
from support.processes.system_calls import why_no_strace
from support.processes.waiting import wait_for
from support.results.events import numbered, numbers_of


@settings(max_examples=50)
@given(
    sizes=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=8), max_size=20),
    max_bytes=st.integers(1, 200),
    keep=st.integers(1, 4),
    interrupted=st.sets(st.integers(1, 4)),
)
def test_rotation_keeps_the_newest_lines_whole_and_in_order(
    sizes: list[list[int]], max_bytes: int, keep: int, interrupted: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        written: list[bytes] = []
        file = LineFile(str(path), max_bytes=max_bytes, keep=keep)
        for batch in sizes:
            lines = [b"%d" % (len(written) + n) + b"x" * size + b"\n" for n, size in enumerate(batch)]
            written += lines
            while lines:
                lines = lines[file.send(lines) :]
        file.close()
        files = [path.with_name(f"events.jsonl.{n}") for n in range(keep, 0, -1)] + [path]
        assert set(Path(folder).iterdir()) <= set(files)
        found = [file.read_bytes() for file in files if file.exists()]
        kept = b"".join(found).splitlines(keepends=True)
        assert kept == written[len(written) - len(kept) :]
        assert all(len(data) <= max_bytes or data.count(b"\n") == 1 for data in found)
        if len(kept) < len(written):
            assert len(found) == keep + 1
        for number in interrupted:  # a rotation that was cut off leaves a gap, which the next one closes
            path.with_name(f"events.jsonl.{number}").unlink(missing_ok=True)
        with LineFile(str(path), max_bytes=1, keep=keep) as file:
            file.send([b"last\n"])
        assert path.read_bytes() == b"last\n"


def test_another_program_may_put_the_file_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with LineFile(str(path)) as file:
        file.send([b"1\n"])
        path.rename(tmp_path / "old")
        file.send([b"2\n"])
        path.unlink()
        file.send([b"3\n"])
    assert (path.read_bytes(), (tmp_path / "old").read_bytes()) == (b"3\n", b"1\n")


def test_a_link_stays_when_what_it_leads_to_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "events.jsonl"
    link.symlink_to(tmp_path / "real" / "file")
    with LineFile(str(link), max_bytes=2, keep=1) as file:
        file.send([b"1\n"])
        file.send([b"2\n"])
    assert link.is_symlink() and link.read_bytes() == b"2\n"
    assert (tmp_path / "real" / "file.1").read_bytes() == b"1\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """A file that fills the file system."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as stream:
        for size in (65536, 512, 1):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError:
                continue
    return path


def service(events: Path, **output: object) -> RuntimeSettings:
    recovery = RecoverySettings(reconnect=True, retry_min_s=0.1, retry_max_s=1.0)
    return RuntimeSettings(output=OutputSettings(events=str(events), **output), recovery=recovery)  # type: ignore[arg-type]


def status_of(board: StatusBoard, name: str = "events") -> SinkStatus:
    return next(sink for sink in board.snapshot().sinks if sink.name == name)


def make_full(folder: Path) -> Callable[[], object]:
    return fill(folder).unlink


def make_read_only(folder: Path) -> Callable[[], object]:
    """Linux does not remount a file system read-only while a file is open for writing, so mount another one over it."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "none", folder], check=True)
    return lambda: subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(("spoil", "problem"), [(make_full, "No space left"), (make_read_only, "Read-only")])
def test_a_service_outlives_a_disk_that_takes_nothing(
    small_disk: Path, spoil: Callable[[Path], Callable[[], object]], problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path, board = small_disk / "events.jsonl", StatusBoard()
    with open_sinks(service(path, max_queued_events=100), board, live=True) as sinks:
        sinks.emit(numbered(0))
        wait_for(lambda: status_of(board).sent == 1)
        mend = spoil(small_disk)
        for number in range(1, 51):
            sinks.emit(numbered(number))
        wait_for(lambda: not status_of(board).working)
        assert problem in str(status_of(board).problem)
        for number in range(51, 201):
            sinks.emit(numbered(number))
        assert status_of(board).waiting <= 100 + 256
        mend()
        wait_for(lambda: status_of(board).working and status_of(board).waiting == 0)
    numbers = numbers_of(path.read_bytes().splitlines())
    assert numbers[-100:] == list(range(101, 201))  # as many as are held
    # Before them come those that still went into the file's last page.
    assert numbers[:-100] == list(range(len(numbers) - 100))
    assert len(numbers) + status_of(board).dropped == 201
    told = capfd.readouterr().err.splitlines()
    assert problem in told[0] and "works again" in told[-1] and len(told) <= 4


def test_without_reconnect_a_full_disk_ends_the_run(small_disk: Path) -> None:
    board = StatusBoard()
    settings = RuntimeSettings(output=OutputSettings(events=str(small_disk / "events.jsonl")))
    sinks = open_sinks(settings, board, live=True)
    fill(small_disk)
    sinks.emit(numbered(0))
    with pytest.raises(OutputError, match="No space left"):
        sinks.close()


def test_the_place_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot open"):
        open_sinks(service(tmp_path / "missing" / "events.jsonl"), StatusBoard(), live=True)


WRITE_ENDLESSLY = """
import sys
from fer_edge.settings.runtime import load_settings
from fer_edge.sinks import open_sinks
from fer_edge.status import StatusBoard
from support.results.events import numbered

with open_sinks(load_settings(None, {"output": {"events": sys.argv[1], "events_max_buffered_s": float(sys.argv[2]),
                "events_max_mib": 0.05, "events_max_rotated": 9}}), StatusBoard(), live=False) as sinks:
    for number in range(int(sys.argv[3]), 10**9):
        sinks.emit(numbered(number))
"""


def size_of(path: Path) -> int:
    """Return the size in bytes; 0 while the file is being rotated."""
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("gather_s", [0.0, 0.01])
def test_lines_are_whole_after_a_kill_and_the_next_start(tmp_path: Path, gather_s: float) -> None:
    path, next_number = tmp_path / "events.jsonl", 0
    for _ in range(2):
        command = [sys.executable, "-c", WRITE_ENDLESSLY, str(path), str(gather_s), str(next_number)]
        support = str(CHECKOUT / "tests")
        process = subprocess.Popen(
            command, env={**clean_environment(), "PYTHONPATH": support}, stdout=subprocess.DEVNULL
        )
        wait_for(lambda: path.with_name("events.jsonl.2").exists() and size_of(path))
        process.send_signal(signal.SIGKILL)
        process.wait()
        with path.open("ab") as stream:
            stream.write(b'{"v":1,"kind":"chan')  # what a power failure may leave of a write
        found = sorted(
            tmp_path.glob("events.jsonl*"),
            key=lambda file: -int(file.suffix[1:] or 0) if file.suffix[1:].isdigit() else 1,
        )
        lines = b"".join(file.read_bytes() for file in found).splitlines()
        whole = numbers_of([line for line in lines if line != b'{"v":1,"kind":"chan'])
        assert whole == sorted(set(whole))
        next_number = whole[-1] + 1
        for file in tmp_path.glob("events.jsonl.*"):
            file.unlink()


@pytest.mark.slow
@pytest.mark.skipif(why_no_strace() is not None, reason=str(why_no_strace()))
def test_sigterm_in_the_middle_of_a_write_loses_nothing(tmp_path: Path) -> None:
    """Each write is delayed by one second, so that the signal arrives during a write."""
    path, trace = tmp_path / "events.jsonl", tmp_path / "trace"
    path.touch()  # strace knows the file by its path
    slow = ["strace", "-f", "-qq", "-o", str(trace), "-P", str(path), "-e", "inject=write:delay_enter=1000000"]
    (tmp_path / "config.toml").write_text("[emotion]\nheartbeat_s = 0.2\n")
    run = command_line(
        "run", "demo", "--realtime", "--events", path, "--stats", "stats.json", "--config", "config.toml"
    )
    with subprocess.Popen([*slow, *run], cwd=tmp_path, env=clean_environment(), stdout=subprocess.DEVNULL) as tracer:
        wait_for(lambda: size_of(path))
        begun = trace.read_text().count("write(")
        wait_for(lambda: trace.read_text().count("write(") > begun)
        written = size_of(path)
        (traced,) = children_of(tracer.pid)
        os.kill(traced, signal.SIGTERM)
        assert tracer.wait(timeout=120) == 0
    assert size_of(path) > written
    assert len(lines_of(path)) == json.loads((tmp_path / "stats.json").read_text())["events"]


def children_of(pid: int) -> list[int]:
    """Return the child processes of ``pid``."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_a_stuck_reader_of_standard_output_holds_nobody_up(tmp_path: Path) -> None:
    """The pipe is full and is not read: processing continues, SIGTERM ends the run in time, the file is complete."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, bytes(65536))
    except BlockingIOError:
        os.set_blocking(write, True)
    config = tmp_path / "config.toml"
    config.write_text("[emotion]\nheartbeat_s = 0.2\n")
    process = subprocess.Popen(
        command_line("run", "demo", "--realtime", "--events", "events.jsonl", "--config", config),
        cwd=tmp_path,
        env=clean_environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    path = tmp_path / "events.jsonl"
    wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= 5)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, told = process.communicate(timeout=60)
    os.close(read)
    assert time.monotonic() - began < 30
    assert process.returncode == 6
    assert told.startswith("fer-edge: console: blocked (a pipe that nothing reads?); ") and told.count("\n") == 1
    assert len(lines_of(path)) >= 5
    assert json.loads(path.read_text().splitlines()[0])["v"] == 1
