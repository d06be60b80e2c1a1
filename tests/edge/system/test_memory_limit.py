"""``fer-edge run`` in a control group with a memory limit, where the kernel kills instead of refusing memory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.models.hostile_models import make_large_bundle
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge
from support.processes.memory_groups import MIB, MemoryGroup, memory_group
from support.processes.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups of Linux")

ENOUGH = 256 * MIB
GROWTH = 216 * MIB
"""Memory of a process that fits into ``ENOUGH`` alone, but not next to ``fer-edge run``, which takes 55 MiB."""


def run_in(group: MemoryGroup, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        group.command(*command_line("run", *words)),
        # A separate cache, because a model that has passed before is not tried again.
        cwd=folder, env={**clean_environment(), "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_model_that_takes_more_than_the_limit_is_exit_4(tiny_bundle: Path, tmp_path: Path) -> None:
    """The kernel kills the process that tries the model, and not its parent."""
    pytest.importorskip("tensorflow", reason="needs TensorFlow to make the model")
    large = make_large_bundle(tiny_bundle, tmp_path / "large")
    with memory_group(ENOUGH) as group:
        result = run_in(group, tmp_path, "demo", "--bundle", large, "--variant", "float32", "--events", "e.jsonl")
        assert_one_line(result, 4, "float32.tflite", "(SIGKILL), perhaps because the memory is used up")
        assert group.kills() == 1
        assert not list((tmp_path / "cache").rglob("*"))  # not remembered as one that passed
        good = run_in(group, tmp_path, "demo", "--bundle", tiny_bundle, "--max-frames", 3, "--events", "e.jsonl")
        assert (good.returncode, good.stderr) == (0, "")
        assert group.kills() == 1


@pytest.mark.slow
def test_every_limit_ends_in_success_a_refused_model_or_a_kill(tiny_bundle: Path, tmp_path: Path) -> None:
    """With any limit, from too little for Python's imports to enough: no traceback, crash, or incomplete line."""
    codes = []
    for mib in range(16, 97, 16):
        folder = tmp_path / str(mib)
        folder.mkdir()
        words = ("demo", "--bundle", tiny_bundle, "--max-frames", 100, "--events", "e.jsonl", "--stats", "s.json")
        with memory_group(mib * MIB) as group:
            result = run_in(group, folder, *words)
            killed = group.kills()
        assert result.returncode in (0, 4, -signal.SIGKILL), (mib, result.stderr)
        codes.append(result.returncode)
        if result.returncode == 4:
            assert_one_line(result, 4, "(SIGKILL), perhaps because the memory is used up")
        else:
            assert result.stderr == "", mib
        assert (killed == 0) == (result.returncode == 0), mib
        assert_whole_lines(folder / "e.jsonl")
        assert (folder / "s.json").exists() == (result.returncode == 0)
        assert not [path for path in folder.iterdir() if ".tmp" in path.name]
    assert codes[0] == -signal.SIGKILL
    assert codes[-1] == 0


@pytest.mark.slow
def test_a_kill_during_a_run_leaves_whole_events(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f"""
[source]
uris = ["demo"]
realtime = true
[model]
bundle = "{tiny_bundle}"
[emotion]
heartbeat_s = 0.1
[output]
events = "e.jsonl"
""")
    events = tmp_path / "e.jsonl"
    for _ in range(3):
        kill_by_memory_limit(tmp_path, events)
        assert_whole_lines(events)
    written = count_lines(events)
    result = fer_edge("run", "--config", "c.toml", "--max-frames", 100, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert count_lines(events) > written
    assert_whole_lines(events)


def kill_by_memory_limit(folder: Path, events: Path) -> None:
    """Run ``c.toml`` until it has emitted ten more events; then another process of its group uses up the memory."""
    before = count_lines(events)
    with memory_group(ENOUGH) as group:
        command = group.command(*command_line("run", "--config", "c.toml"))
        with subprocess.Popen(command, cwd=folder, env=clean_environment(), stdout=subprocess.DEVNULL) as process:
            try:
                wait_for(lambda: count_lines(events) >= before + 10)
                # So that the kernel kills it before the process that grows.
                Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
                grow = [sys.executable, "-c", f"taken = b'x' * {GROWTH}"]
                # It may be killed too while the memory of the first is not yet free.
                subprocess.run(group.command(*grow), timeout=120, check=False)
                assert process.wait(60) == -signal.SIGKILL
            finally:
                process.kill()
        assert group.kills() >= 1


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_whole_lines(path: Path) -> None:
    """Assert that the file, if there is one, is empty or ends with a line that is a whole event."""
    text = path.read_text() if path.exists() else ""
    assert not text or text.endswith("\n"), text[-200:]
    for line in text.splitlines():
        assert json.loads(line)["v"] == 1
