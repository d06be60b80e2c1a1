"""``fer-edge run --show``: the live window on a real X server, Xvfb."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge, lines_of
from support.processes.system_calls import traced
from support.processes.waiting import wait_for

MISSING = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]
if subprocess.run([sys.executable, "-c", "import tkinter"], capture_output=True, check=False).returncode:
    MISSING.append("tkinter")
needs_display = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {' '.join(MISSING)}: apt-get install xvfb xdotool python3-tk"
)
TITLE = "FER-Edge: q or Esc ends the run"
HAPPY = (66, 228, 240)
"""The colour of the box of a happy face, BGR."""


class Display:
    """An X server with a screen of 800 x 600."""

    def __init__(self, folder: Path) -> None:
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), *f"-screen 0 800x600x24 -fbdir {folder} -nolisten tcp".split()],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as stream:
            self.name = f":{stream.readline().strip()}"
        self._screen = folder / "Xvfb_screen0"

    def xdotool(self, *words: str) -> str:
        environment = {**os.environ, "DISPLAY": self.name}
        return subprocess.run(
            ["xdotool", *words], env=environment, stdout=subprocess.PIPE, text=True, check=False
        ).stdout

    def window(self) -> str:
        """Return the id of the window once it exists."""
        found: list[str] = []
        wait_for(lambda: found.extend(self.xdotool("search", "--name", TITLE).split()) or found)
        return found[0]

    def picture(self) -> np.ndarray:
        """Return the screen, BGR. Xvfb stores it in a file in the format of xwd(1)."""
        data = self._screen.read_bytes()
        header = struct.unpack(">25I", data[:100])
        height, row_bytes, start = header[5], header[12], header[0] + 12 * header[19]
        return np.frombuffer(data, np.uint8, height * row_bytes, start).reshape(height, -1, 4)[..., :3]


@pytest.fixture
def display(tmp_path: Path) -> Iterator[Display]:
    folder = tmp_path / "screen"
    folder.mkdir()
    display = Display(folder)
    yield display
    display.process.terminate()
    display.process.wait(60)


def start(display: Display, cwd: Path, *more: object) -> subprocess.Popen[str]:
    """Run the demo in real time with a window."""
    return subprocess.Popen(
        command_line("run", "demo", *more, "--realtime", "--show", "--events", "e.jsonl"),
        cwd=cwd,
        env={**clean_environment(), "DISPLAY": display.name},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_ended_as_by_ctrl_c(run: subprocess.Popen[str], cwd: Path) -> None:
    printed, complaints = run.communicate(timeout=60)
    assert run.returncode == 0, complaints
    assert "frames, " in printed  # the summary
    assert "Traceback" not in complaints
    assert lines_of(cwd / "e.jsonl")[-1]["kind"] == "left"


def wait_for_box(display: Display) -> None:
    wait_for(lambda: (cv2.inRange(display.picture(), HAPPY, HAPPY) > 0).sum() > 300)


@needs_display
def test_the_window_shows_boxes_and_labels_in_colour(display: Display, tmp_path: Path) -> None:
    run = start(display, tmp_path)
    wait_for_box(display)
    picture = display.picture()
    assert picture[480:].max() == picture[:, 640:].max() == 0  # the demo's size
    assert np.ptp(picture[:480, :640].astype(int), axis=2).max() > 60
    run.send_signal(signal.SIGINT)
    assert_ended_as_by_ctrl_c(run, tmp_path)
    assert display.xdotool("search", "--name", TITLE) == ""


@pytest.mark.slow
@needs_display
@pytest.mark.parametrize("way", ["q", "Escape", "close"])
def test_the_user_ends_the_run_in_the_window(display: Display, tmp_path: Path, way: str) -> None:
    run = start(display, tmp_path)
    window = display.window()
    wait_for_box(display)
    if way == "close":
        display.xdotool("windowclose", window)
    else:
        display.xdotool("windowfocus", "--sync", window, "key", way)
    assert_ended_as_by_ctrl_c(run, tmp_path)


@needs_display
def test_a_display_that_goes_away_ends_the_run_with_its_outputs(display: Display, tmp_path: Path) -> None:
    run = start(display, tmp_path)
    wait_for_box(display)
    display.process.kill()
    assert_ended_as_by_ctrl_c(run, tmp_path)


@pytest.mark.slow
@needs_display
def test_a_window_that_hangs_delays_nothing(display: Display, tmp_path: Path) -> None:
    run = start(display, tmp_path, "--stats", "s.json", "--duration", 7)
    wait_for_box(display)
    children = map(int, Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split())
    (pid,) = (child for child in children if b"window_process" in Path(f"/proc/{child}/cmdline").read_bytes())
    os.kill(pid, signal.SIGSTOP)
    assert_ended_as_by_ctrl_c(run, tmp_path)
    counts = json.loads((tmp_path / "s.json").read_text())
    assert counts["frames"] > 30 and counts["frames"] + counts["dropped"] > 90  # 15 frames a second
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


@needs_display
def test_the_window_does_not_outlive_a_killed_run(display: Display, tmp_path: Path) -> None:
    run = start(display, tmp_path)
    display.window()
    run.kill()
    run.communicate()
    wait_for(lambda: display.xdotool("search", "--name", TITLE) == "")


@needs_display
def test_several_sources_are_shown_side_by_side_and_fit_the_screen(display: Display, tmp_path: Path) -> None:
    run = start(display, tmp_path, "hall=demo", "--duration", 60)
    window = display.window()
    wait_for_box(display)
    wait_for(lambda: "waiting" not in display.xdotool("getwindowgeometry", window))
    geometry = display.xdotool("getwindowgeometry", "--shell", window)
    width, height = (int(geometry.partition(f"{name}=")[2].split()[0]) for name in ("WIDTH", "HEIGHT"))
    assert width <= 720 and height <= 540 and width > 1.8 * height
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 0
    run.communicate()


@pytest.mark.slow
@needs_display
def test_the_window_stores_nothing_and_talks_with_the_display_alone(display: Display, tmp_path: Path) -> None:
    environment = {**clean_environment(), "DISPLAY": display.name}
    folder = tmp_path / "run"
    folder.mkdir()
    assert fer_edge("run", "demo", "--max-frames", 1, cwd=folder).returncode == 0  # the model is tried
    seen = traced(
        command_line("run", "demo", "--realtime", "--show", "--duration", 2), folder, environment, lambda: None
    )
    # Xlib asks the C library for the host's name, which may ask its cache.
    addresses = {address.lstrip("@") for address in seen.addresses} - {"/var/run/nscd/socket"}
    assert addresses == {f"/tmp/.X11-unix/X{display.name[1:]}"}
    assert {path for path in seen.paths if not path.startswith(("/dev/null", "anon_inode:", "pipe:"))} == set()
    assert sum(count for target, count in seen.written.items() if target.startswith("pipe:")) > 640 * 480


@pytest.mark.slow
def test_without_a_display_there_is_one_line(tmp_path: Path) -> None:
    result = fer_edge("run", "demo", "--show", "--events", "e.jsonl", cwd=tmp_path, settings={"DISPLAY": ":4711"})
    assert_one_line(result, 2, "--show: ")
    assert ("there is no display" in result.stderr) or ("no tkinter" in result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_without_tkinter_the_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "tkinter.py").write_text("raise ImportError('No module named _tkinter')\n")
    result = fer_edge("run", "demo", "--show", cwd=tmp_path, settings={"PYTHONPATH": str(tmp_path)})
    assert_one_line(result, 2, "--show: this Python has no tkinter", "apt install python3-tk")


def test_a_window_and_counts_alone_exclude_each_other(tmp_path: Path) -> None:
    settings = {"FER_EDGE_OUTPUT_PRIVACY": "aggregate"}
    result = fer_edge("run", "demo", "--show", cwd=tmp_path, settings=settings)
    assert_one_line(result, 2, "--show", 'output.privacy = "aggregate"')
