"""Each program of edge/examples runs as a process on real inputs, and prints the expected lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from support.cameras.mjpeg_server import MjpegServer, mjpeg_server
from support.cameras.scenes import demo_frames
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import clean_environment, face_picture, write_video

EXAMPLES = CHECKOUT / "edge" / "examples"
EVENTS = r"face 1  appeared  happy  \d\d%\n.*face 1  left      was happy\n"


@dataclass(frozen=True)
class Case:
    """A command line (``{server}`` is a web server's address), and patterns of its complete output."""

    command: str
    prints: str = ""
    complains: str = ""
    code: int = 0


CASES = (
    Case("image.py", r"happy 9\d% at \[1\d\d, 6\d, \d+, \d+\]\n(  \w+ +\d+\.\d%\n){7}"),
    Case("image.py missing.png", complains=r"(\[ WARN.*\n)?missing.png: not an image that OpenCV can read\n", code=1),
    Case("folder.py pictures", r"face\.png: happy\nwall\.png: no face\n"),
    Case("webcam.py film.mp4", rf"\d\d:\d\d:\d\d  film.mp4  {EVENTS}"),
    Case("webcam.py /dev/video99", complains="/dev/video99: camera not found; .*\n", code=3),
    Case("network_stream.py {server}/film.mp4 1", rf".*127.0.0.1  {EVENTS}"),
    Case("network_stream.py {server}/page 1", complains="http://.*/page: .*\n"),
    Case("two_cameras.py film.mp4 gone.mp4", f".*camera 1  {EVENTS}", "camera 2: gone.mp4: no such file or folder.*\n"),
    Case("frames.py film.mp4", r"frame,seconds,face,x,.*\n(\d+,\d\.\d+,1,\d+,\d+,\d+,\d+,happy,0\.\d+\n){20,30}"),
    Case("own_loop.py film.mp4", r"(\d+ 1 (happy|uncertain) \[\d+, \d+, \d+, \d+\]\n){5,30}"),
    Case("custom_source.py 640 480", f".*stdin  {EVENTS}"),
    Case("custom_sink.py film.mp4", r"happy +1\.\d s\n"),
    Case("own_detector.py film.mp4", r".*appeared  happy(.*\n)+"),
    Case("relay.py film.mp4", r".*face 1  appeared  happy  \d\d%  on\n.*face 1  left      was happy  off\n"),
    Case("relay.py film.mp4 sad 4", r".*face 1  appeared  happy  \d\d%  off\n.*face 1  left      was happy  off\n"),
    Case("json_lines.py film.mp4", r"(\{.*\}\n){2}"),
    Case("annotate.py film.mp4 out.webm", "out.webm\n"),
    Case("budget.py film.mp4 settings.toml", r"30 frames, (2\d|30) faces, .*\n(\w+ +\d+\.\d\d ms  x \d+\n){8,}"),
    Case("only_classifier.py", r"(\w+ +\d+\.\d%\n){3}happy +9\d\.\d%\n(\w+ +\d+\.\d%\n){3}"),
    Case("only_detector.py pictures/face.png cut", r"\[\d+, \d+, \d+, \d+\] score \d+\.\d\n"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory, with the files named in the command lines."""
    folder = tmp_path_factory.mktemp("examples")
    write_video(folder / "film.mp4", 30)
    (folder / "pictures").mkdir()
    (folder / "cut").mkdir()
    cv2.imwrite(str(folder / "pictures" / "face.png"), cv2.cvtColor(face_picture(), cv2.COLOR_GRAY2BGR))
    cv2.imwrite(str(folder / "pictures" / "wall.png"), face_picture()[:100, :100])
    (folder / "pictures" / "notes.txt").write_text("no picture")
    (folder / "settings.toml").write_text("[schedule]\nbudget_share = 0.9\n")
    (folder / "stdin.raw").write_bytes(b"".join(frame.gray.tobytes() for frame, _ in demo_frames(4.0, 6.0)))
    return folder


def start(command: str, folder: Path, server: MjpegServer) -> subprocess.CompletedProcess[str]:
    name, *arguments = command.format(server=server.url("").rstrip("/")).split()
    with (folder / "stdin.raw").open("rb") as stdin:
        return subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments],
            cwd=folder,
            env={**clean_environment(), "GPIOZERO_PIN_FACTORY": "mock"},
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def runs(folder: Path) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """Start all programs, three at a time, since they mostly wait for files and servers."""
    with mjpeg_server(folder / "film.mp4") as server, ThreadPoolExecutor(3) as pool:
        yield {case.command: pool.submit(start, case.command, folder, server) for case in CASES}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.command)
def test_output_matches(case: Case, runs: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    if case.command.startswith("relay.py") and find_spec("gpiozero") is None:
        pytest.skip("needs gpiozero")
    done = runs[case.command].result()
    assert done.returncode == case.code, done.stderr
    assert re.fullmatch(case.prints, done.stdout), done.stdout
    assert re.fullmatch(case.complains, done.stderr), done.stderr


def test_written_files_can_be_read(folder: Path, runs: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    lines = runs["json_lines.py film.mp4"].result().stdout.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["appeared", "left"]
    runs["annotate.py film.mp4 out.webm"].result()
    film = cv2.VideoCapture(str(folder / "out.webm"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    film.release()
    runs["only_detector.py pictures/face.png cut"].result()
    assert cv2.imread(str(folder / "cut" / "face-1.png")) is not None


def test_json_lines_end_quietly_when_the_reader_has_gone(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "json_lines.py"), "film.mp4"],
        cwd=folder,
        env=clean_environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_example_is_run_and_listed_and_small() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py")}
    assert {case.command.split()[0] for case in CASES} == programs
    listed = re.findall(r"^\| \[([\w.]+)\]\(([\w.]+)\) \|", (EXAMPLES / "README.md").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == [(name, name) for name in sorted(programs)]
    for name in programs:
        text = (EXAMPLES / name).read_text()
        assert f"python {name}" in text.split('"""')[1], f"{name} does not show its command line"
        assert len(text.splitlines()) <= 35, name
