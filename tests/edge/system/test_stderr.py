"""stderr is hidden only while native libraries load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.errors import ModelError
from fer_edge.model.interpreter import LiteRtModel
from fer_edge.system.stderr import hidden_stderr
from support.processes.edge_command import assert_one_line, clean_environment, fer_edge, undecodable_png

LOADING_FAILS = """
import os, sys
from pathlib import Path
from fer_edge.errors import ModelError
from fer_edge.model.interpreter import LiteRtModel
try:
    LiteRtModel(Path("broken.tflite"))
except ModelError:
    os.write(2, b"native ")
    sys.stderr.write("and Python")
"""

NOT_THERE = """
import os, sys
os.close(2)
from fer_edge.system.stderr import hidden_stderr
with hidden_stderr():
    pass
sys.stdout.write("fine")
"""


IN_TWO_THREADS = """
import os, sys, threading
from fer_edge.model.bundle import load_bundle
from fer_edge.model.interpreter import LiteRtModel
path = load_bundle().variant("int8").path
sys.setswitchinterval(1e-6)
before, together = os.stat(2).st_ino, threading.Barrier(2)
def load():
    for _ in range(400):
        together.wait()
        LiteRtModel(path)
threads = [threading.Thread(target=load) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert os.stat(2).st_ino == before
os.write(2, b"still heard")
"""

A_LINE_MEANWHILE = """
import threading
from fer_edge.system.messages import print_message
from fer_edge.system.stderr import hidden_stderr
hidden, printed = threading.Event(), threading.Event()
def hide():
    with hidden_stderr():
        hidden.set()
        printed.wait(0.3)
thread = threading.Thread(target=hide)
thread.start()
hidden.wait()
print_message("the camera is lost")
printed.set()
thread.join()
"""


def run(program: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def test_stderr_is_restored_after_a_failed_load(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    done = run(LOADING_FAILS, tmp_path)
    assert (done.stderr, done.stdout) == ("native and Python", "")


@pytest.mark.slow
def test_stderr_is_restored_after_parallel_loads(tmp_path: Path) -> None:
    assert run(IN_TWO_THREADS, tmp_path).stderr == "still heard"


def test_a_message_waits_until_stderr_is_restored(tmp_path: Path) -> None:
    assert run(A_LINE_MEANWHILE, tmp_path).stderr == "fer-edge: the camera is lost\n"


def test_an_error_is_reported_while_other_sources_load_their_models(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(undecodable_png())
    result = fer_edge("run", "broken.png", "demo", "demo", "--max-frames", 3, cwd=tmp_path)
    assert_one_line(result, 2, "broken.png", "damaged")
    assert "6 frames" in result.stdout


def test_a_process_without_stderr_continues(tmp_path: Path) -> None:
    assert run(NOT_THERE, tmp_path).stdout == "fine"


def test_output_inside_is_lost_and_exceptions_pass(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before ")
    with pytest.raises(KeyError, match="mine"), hidden_stderr():
        os.write(2, b"inside ")
        raise KeyError("mine")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts file descriptors through /proc")
def test_failed_loads_leave_no_file_open(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(bytes(64))
    counts = []
    for _ in range(20):
        with pytest.raises(ModelError):
            LiteRtModel(broken)
        counts.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - descriptors are not files
    assert counts[-1] == counts[1]
