"""What an interrupted preparation leaves, and how the next one copes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arm.rootfs import kept
from fer_edge.errors import InputError
from support.processes.waiting import wait_for

_KILLED = """
import os, signal, subprocess, sys
from pathlib import Path
from arm.rootfs import kept

def build(folder):
    writing = 'until [ -e "$1" ]; do i=$((i + 1)); echo >"$0/$i"; done; touch "$1-seen"'
    subprocess.Popen(["sh", "-c", writing, folder, sys.argv[2]], stderr=subprocess.DEVNULL)
    while not any(folder.iterdir()):
        pass
    os.kill(os.getpid(), signal.SIGKILL)

with kept(Path(sys.argv[1]), "root", b"sources", build):
    pass
"""
_ENDED = """
import signal, sys
from arm.sandbox import run
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
run(["sh", "-c", 'trap "rmdir $0; exit 1" TERM; mkdir $0; while :; do sleep 0.05; done', sys.argv[1]])
"""
_ENVIRONMENT = {**os.environ, "PYTHONPATH": ":".join(sys.path)}


def build(folder: Path) -> None:
    (folder / "whole").touch()
    time.sleep(0.3)


def test_one_that_was_killed_is_deleted_though_its_programs_still_write(tmp_path: Path) -> None:
    cache, stop = tmp_path / "cache", tmp_path / "stop"
    try:
        command = [sys.executable, "-c", _KILLED, cache, stop]
        assert subprocess.run(command, env=_ENVIRONMENT, check=False).returncode == -signal.SIGKILL
        with kept(cache, "root", b"sources", build) as folder:
            assert [path.name for path in folder.iterdir()] == ["whole"]
    finally:
        stop.touch()
    wait_for((tmp_path / "stop-seen").exists)
    with kept(cache, "root", b"sources", build) as again:
        assert again == folder
        assert {path.name for path in cache.iterdir()} == {folder.name, "root.lock"}


def test_one_that_failed_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise InputError("no network")

    with pytest.raises(InputError, match="no network"), kept(tmp_path, "root", b"sources", fail):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["root.lock"]


def test_a_step_can_clean_up_before_it_ends(tmp_path: Path) -> None:
    """As mmdebstrap does: killed, it would leave hundreds of megabytes."""
    scratch = tmp_path / "scratch"
    with subprocess.Popen([sys.executable, "-c", _ENDED, scratch], env=_ENVIRONMENT) as process:
        wait_for(scratch.exists)
        process.terminate()
    assert process.returncode == 143
    assert not scratch.exists()
