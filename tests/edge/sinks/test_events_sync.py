"""``output.events_max_unsynced_s``: the content of the disk after a power failure, and the effect of a failing disk."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fer_edge.errors import OutputError
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.service import OutputSettings, RecoverySettings
from fer_edge.sinks import open_sinks
from fer_edge.sinks.base import Pace
from fer_edge.sinks.event_json import encode_json_line
from fer_edge.sinks.queued import Batching, QueuedSink
from fer_edge.status import SinkStatus, StatusBoard
from support.cards.images import loop_device, why_no_loop_device
from support.processes.edge_command import clean_environment, command_line, lines_of
from support.processes.system_calls import why_no_strace
from support.processes.waiting import wait_for
from support.results.events import numbered, numbers_of

needs_loop = pytest.mark.skipif(why_no_loop_device() is not None, reason=str(why_no_loop_device()))
needs_strace = pytest.mark.skipif(why_no_strace() is not None, reason=str(why_no_strace()))


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """Mount the ext4 file system in ``image`` at ``folder``; skip the test if that is not possible."""
    folder.mkdir(exist_ok=True)
    with loop_device(image) as device:
        done = subprocess.run(["mount", "-t", "ext4", device, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount ext4: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)


class Card:
    """A card with an ext4 file system whose power can be cut, which loses what is not on the device."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._image = folder, folder / "card.img"
        self._image.touch()
        os.truncate(self._image, 16 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self._image], check=True)

    def mounted(self) -> contextlib.AbstractContextManager[Path]:
        return mounted(self._image, self._folder / "card")

    def after_a_power_cut(self, name: str) -> bytes:
        """Return the content of file ``name`` on a new mount of a copy of the device; empty if it is missing."""
        left = self._folder / "left.img"
        left.write_bytes(self._image.read_bytes())
        with mounted(left, self._folder / "left") as folder:
            return (folder / name).read_bytes() if (folder / name).exists() else b""


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return Card(tmp_path)


def service(events: Path, **output: object) -> RuntimeSettings:
    recovery = RecoverySettings(reconnect=True, retry_min_s=0.1, retry_max_s=1.0)
    return RuntimeSettings(output=OutputSettings(events=str(events), **output), recovery=recovery)  # type: ignore[arg-type]


def status_of(board: StatusBoard) -> SinkStatus:
    return next(sink for sink in board.snapshot().sinks if sink.name == "events")


@needs_loop
@pytest.mark.parametrize("live", [True, False])
def test_synced_events_outlive_a_power_cut(card: Card, live: bool) -> None:
    """Without a sync the file is empty: the kernel has not written it yet."""
    for sync_s in (0.0, None):
        with card.mounted() as folder:
            path, board = folder / f"{sync_s}.jsonl", StatusBoard()
            with open_sinks(service(path, events_max_unsynced_s=sync_s), board, live=live) as sinks:
                for number in range(20):
                    sinks.emit(numbered(number))
                wait_for(lambda: status_of(board).sent == 20)  # noqa: B023
                if sync_s is None:
                    assert card.after_a_power_cut(path.name) == b""
                    assert len(lines_of(path)) == 20
                else:
                    wait_for(lambda: len(card.after_a_power_cut(path.name).splitlines()) == 20, within_s=10)  # noqa: B023
                    assert numbers_of(card.after_a_power_cut(path.name).splitlines()) == list(range(20))


@needs_loop
def test_the_last_events_are_synced_when_the_next_are_far_away(card: Card) -> None:
    with card.mounted() as folder:
        path = folder / "events.jsonl"
        with open_sinks(service(path, events_max_unsynced_s=1.0), StatusBoard(), live=True) as sinks:
            sinks.emit(numbered(0))
            wait_for(path.read_bytes)
            wait_for(lambda: card.after_a_power_cut(path.name), within_s=20)


@needs_loop
def test_rotated_files_are_synced_too(card: Card) -> None:
    with card.mounted() as folder:
        path, board = folder / "events.jsonl", StatusBoard()
        settings = service(path, events_max_unsynced_s=0.5, events_max_mib=0.01, events_max_rotated=3)
        with open_sinks(settings, board, live=False) as sinks:
            for number in range(200):
                sinks.emit(numbered(number))
            wait_for(lambda: status_of(board).sent == 200)
            files = [f"events.jsonl.{number}" for number in (3, 2, 1) if (folder / f"events.jsonl.{number}").exists()]
            assert len(files) == 3

            def left() -> list[int]:
                return numbers_of(b"".join(map(card.after_a_power_cut, [*files, path.name])).splitlines())

            wait_for(lambda: left()[-1:] == [199], within_s=20)
            assert left() == list(range(200))[-len(left()) :]


@needs_loop
def test_closing_syncs(card: Card) -> None:
    with card.mounted() as folder:
        settings = service(folder / "events.jsonl", events_max_unsynced_s=3600.0)
        with open_sinks(settings, StatusBoard(), live=True) as sinks:
            sinks.emit(numbered(7))
        assert numbers_of(card.after_a_power_cut("events.jsonl").splitlines()) == [7]


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize(("sync_s", "max_syncs"), [(None, 0), (0, None), (1, 8)])
def test_syncs_are_no_more_frequent_than_asked(sync_s: int | None, max_syncs: int | None, tmp_path: Path) -> None:
    """Trace the real command with strace; it runs for 5 s and makes up to 10 events per second."""
    path, trace = tmp_path / "events.jsonl", tmp_path / "trace"
    path.touch()  # strace knows the file by its path
    setting = "" if sync_s is None else f"[output]\nevents_max_unsynced_s = {sync_s}\n"
    (tmp_path / "config.toml").write_text(f"[emotion]\nheartbeat_s = 0.1\n{setting}")
    run = command_line(
        *("run", "demo", "--realtime", "--duration", "5", "--events", path, "--config", tmp_path / "config.toml")
    )
    strace = ["strace", "-f", "-qq", "-o", str(trace), "-P", str(path), "-e", "trace=write,fsync"]
    done = subprocess.run([*strace, *run], cwd=tmp_path, env=clean_environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    calls = re.findall(r"^\d+ +(write|fsync)\(", trace.read_text(), flags=re.MULTILINE)
    writes, syncs = calls.count("write"), calls.count("fsync")
    assert writes >= 3
    if sync_s is None:
        assert syncs == 0
        return
    assert calls[-1] == "fsync"
    if max_syncs is None:
        assert calls == ["write", "fsync"] * writes
    else:
        assert 1 <= syncs <= max_syncs


@pytest.mark.slow
@needs_strace
def test_a_disk_that_does_not_answer_a_sync_holds_up_nothing(tmp_path: Path) -> None:
    """Each fsync takes a minute: other outputs continue, the file's events wait, and SIGTERM ends the run in time."""
    path, trace, stats = tmp_path / "events.jsonl", tmp_path / "trace", tmp_path / "stats.json"
    path.touch()
    (tmp_path / "config.toml").write_text("[emotion]\nheartbeat_s = 0.1\n[output]\nevents_max_unsynced_s = 0\n")
    stuck = ["strace", "-f", "-qq", "-o", str(trace), "-P", str(path), "-e", "inject=fsync:delay_enter=60000000"]
    run = command_line("run", "demo", "--realtime", "--events", path, "--stats", stats, "--config", "config.toml")
    console = tmp_path / "console"
    with (
        console.open("wb") as stdout,
        subprocess.Popen([*stuck, *run], cwd=tmp_path, env=clean_environment(), stdout=stdout) as tracer,
    ):
        wait_for(path.read_bytes)  # after that comes the sync
        seen = console.read_bytes().count(b"\n")
        wait_for(lambda: console.read_bytes().count(b"\n") >= seen + 10)
        assert len(lines_of(path)) < seen + 10
        (traced,) = Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()
        began = time.monotonic()
        os.kill(int(traced), signal.SIGTERM)
        wait_for(stats.exists)
        assert time.monotonic() - began < 30
        os.kill(int(traced), signal.SIGKILL)
        tracer.kill()  # it would wait for its delay
        tracer.wait(timeout=120)
    assert len(lines_of(path)) < json.loads(stats.read_text())["events"]


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize("reconnect", [True, False])
def test_a_sync_that_fails_is_reported(reconnect: bool, tmp_path: Path) -> None:
    """The first sync fails as on a card with bad blocks: a service continues and reports it, others exit with 6."""
    path = tmp_path / "events.jsonl"
    path.touch()
    (tmp_path / "config.toml").write_text(
        "[emotion]\nheartbeat_s = 0.1\n[output]\nevents_max_unsynced_s = 0\n"
        f"[recovery]\nreconnect = {str(reconnect).lower()}\n"
    )
    broken = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", "inject=fsync:error=EIO:when=1"]
    run = command_line(
        *("run", "demo", "--realtime", "--duration", "5", "--events", path, "--config", tmp_path / "config.toml")
    )
    done = subprocess.run(
        [*broken, *run], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
    )
    told = [line for line in done.stderr.splitlines() if "events" in line]
    assert "cannot sync it to the disk: Input/output error" in told[0]
    if reconnect:
        assert done.returncode == 0, done.stderr
        assert told[1] == "fer-edge: events: works again"
        numbers = [json.loads(line)["mono"] for line in path.read_bytes().splitlines()]
        assert len(numbers) >= 2 and numbers == sorted(numbers)
    else:
        assert done.returncode == 6


class FailingDisk:
    """A transport that accepts everything and counts syncs."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.works, self.syncs = False, 0

    def send(self, events: Sequence[bytes]) -> int:
        self.taken += events
        return len(events)

    def sync(self) -> None:
        self.syncs += 1
        if not self.works:
            raise OutputError("disk: cannot sync")

    def close(self) -> None:
        """Do nothing."""


def test_an_outage_of_syncs_is_reported_once_and_over_with_the_next_good_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    disk = FailingDisk()
    sink = QueuedSink(
        disk,
        encode_json_line,
        "disk",
        max_queued=100,
        pace=Pace(live=True),
        max_retry_s=1.0,
        batching=Batching(sync=disk.sync),
    )
    for number in range(3):
        sink.emit(numbered(number))
        wait_for(lambda: disk.syncs > number)  # noqa: B023
    wait_for(lambda: not sink.status().working)
    assert (sink.status().sent, sink.status().problem) == (3, "disk: cannot sync")
    disk.works = True
    sink.emit(numbered(3))
    wait_for(lambda: sink.status().working)
    sink.close()
    assert len(disk.taken) == 4
    assert capfd.readouterr().err.splitlines() == ["fer-edge: disk: cannot sync", "fer-edge: disk: works again"]
