"""Real faults around the daemon: the clock, the memory, a killed process."""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from support.cameras.mjpeg_server import mjpeg_server
from support.processes.daemon import running_daemon

CGROUP = Path("/sys/fs/cgroup/memory")
FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


def config(bundle: Path, uri: str) -> str:
    return (
        f'[source]\nuris = ["{uri}"]\ntimeout_s = 5\n[model]\nbundle = "{bundle}"\n[output]\nevents = "events.jsonl"\n'
        "[recovery]\nreconnect = true\n[emotion]\nheartbeat_s = 0.3\n"
    )


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """A control group with a very low memory limit."""
    group = CGROUP / f"fer-edge-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        yield group
    finally:
        group.rmdir()


@pytest.mark.skipif(not os.access(CGROUP, os.W_OK), reason="needs root and control groups (v1) for memory")
def test_out_of_memory_leaves_whole_lines_and_the_next_start_goes_on(tiny_bundle: Path, tmp_path: Path) -> None:
    lines = tmp_path / "events.jsonl"
    with mjpeg_server() as server, memory_group(64 * 1024) as group:
        with running_daemon(tmp_path, config(tiny_bundle, server.url("stream"))) as daemon:
            daemon.wait_for_events(3, "heartbeat")
            (group / "cgroup.procs").write_text(str(daemon.process.pid))
            daemon.wait_for(lambda: daemon.process.poll() is not None, running=False)
            assert daemon.process.returncode == -signal.SIGKILL
        whole, _, cut = lines.read_bytes().rpartition(b"\n")
        # The page that had no memory may be one of this file: then the kernel ends the write before it.
        assert not cut or (len(whole) + 1 + len(cut)) % mmap.PAGESIZE == 0
        before = whole.splitlines() + ([cut] if cut else [])
        with running_daemon(tmp_path, config(tiny_bundle, server.url("stream"))) as again:
            again.wait_for(lambda: lines.read_bytes().count(b"\n") > len(before))
            assert again.stop() == 0
    after = lines.read_bytes().splitlines()
    assert after[: len(before)] == before
    assert all(json.loads(line)["v"] == 1 for line in [*whole.splitlines(), *after[len(before) :]])


def test_a_kill_leaves_whole_lines_and_the_next_start_closes_a_torn_one(tiny_bundle: Path, tmp_path: Path) -> None:
    with mjpeg_server() as server:
        with running_daemon(tmp_path, config(tiny_bundle, server.url("stream"))) as daemon:
            daemon.wait_for_events(2, "heartbeat")
            daemon.process.kill()
            daemon.process.wait()
        before = daemon.events()
        with (tmp_path / "events.jsonl").open("a") as stream:
            stream.write('{"v":1,"kind":"appea')  # the state after a power failure
        with running_daemon(tmp_path, config(tiny_bundle, server.url("stream"))) as daemon:
            lines = tmp_path / "events.jsonl"
            daemon.wait_for(lambda: len(lines.read_text().splitlines()) > len(before) + 3)
            assert daemon.stop() == 0
    told = lines.read_text().splitlines()
    assert told[len(before)] == '{"v":1,"kind":"appea'
    assert all(json.loads(line)["v"] == 1 for line in told if line != told[len(before)])


@pytest.mark.slow
@pytest.mark.skipif(FAKETIME is None, reason="needs Debian's package faketime")
def test_a_clock_set_back_by_a_day_changes_the_time_told_and_nothing_else(tiny_bundle: Path, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    with (
        mjpeg_server() as server,
        running_daemon(tmp_path, config(tiny_bundle, server.url("stream")), environment=environment) as daemon,
    ):
        daemon.wait_for_events(3, "heartbeat")
        clock.write_text("-1d")
        began, seen = time.monotonic(), len(daemon.events("heartbeat"))
        daemon.wait_for_events(seen + 6, "heartbeat")
        assert time.monotonic() - began < 30  # and not a day
        assert daemon.stop() == 0
    beats = daemon.events("heartbeat")
    monotonic = [line["mono"] for line in beats]
    assert monotonic == sorted(monotonic)
    assert max(b - a for a, b in itertools.pairwise(monotonic)) < 20
    told = [datetime.fromisoformat(line["at"]) for line in beats]
    assert (told[0] - told[-1]).total_seconds() > 86_000
    assert daemon.events("source_lost") == []
