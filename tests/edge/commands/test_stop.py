"""SIGTERM ends ``fer-edge run`` within 5 s, even while a native call does not return."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from support.cameras.mjpeg_server import mjpeg_server
from support.processes.edge_command import Decoder, assert_one_line, clean_environment, face_picture, fer_edge

MAX_STOP_S = 5.0

PARKED = """
import ctypes, sys
import cv2

def park(*arguments):
    print("parked", flush=True)
    # A native call: the GIL is released, and in the main thread no signal handler of Python's runs. A mutex that is
    # locked already, because sleep(3) would return when a signal comes.
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)

{patch}
from fer_edge.commands.cli import program
program()
"""
"""``fer-edge`` with a native function that does not return."""

CAPTURE = """
class Capture(cv2.VideoCapture):
    calls = 0
    def read(self, *arguments):
        Capture.calls += 1
        return super().read(*arguments) if Capture.calls < 5 else park()
cv2.VideoCapture = Capture
"""
OPENING = "cv2.VideoCapture = park"
PYAV_READING = """
from fer_edge.sources.decoders.pyav import PyAVDecoder
real = PyAVDecoder.read
class Calls:
    made = 0
def read(self, *, keep_colour):
    Calls.made += 1
    return real(self, keep_colour=keep_colour) if Calls.made < 5 else park()
PyAVDecoder.read = read
"""
PYAV_OPENING = """
import av
av.open = lambda *arguments, **named: park()
"""
IMAGES = "cv2.imdecode = park"
DEVICE = """
import fer_edge.sources.v4l2.camera as camera
camera.open_v4l2 = park
"""
PICAMERA2 = """
import fer_edge.sources.picamera.source as source
source.import_picamera2 = lambda: None
source.Picamera2Source = park
"""
DEMO = """
from fer_edge.sources.demo.source import DemoSource
DemoSource.read = park
"""
CLASSIFIER = """
import fer_edge.stages.detection.haar as haar
haar.HaarFaceDetector.detect = park
"""
MAIN_THREAD = """
import fer_edge.daemon.current_model as current_model
current_model.load_bundle = park
"""


def stop_parked(
    folder: Path, bundle: Path, patch: str, *words: object, number: int = signal.SIGTERM
) -> tuple[float, int, str]:
    """Return how long the program ran after the signal that came while it was parked, its code and its messages."""
    program = PARKED.format(patch=patch)
    line = [sys.executable, "-c", program, "run", *map(str, words), "--bundle", str(bundle)]
    process = subprocess.Popen(
        line, cwd=folder, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        while (said := process.stdout.readline()) != "parked\n":
            assert said or process.poll() is None, process.communicate()
        began = time.monotonic()
        time.sleep(0.2)  # it is inside the call by now
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        return time.monotonic() - began - 0.2, process.returncode, errors
    finally:
        process.kill()


def choose_decoder(patch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command use the decoder that ``patch`` parks."""
    if patch in (PYAV_READING, PYAV_OPENING):
        pytest.importorskip("av", reason="PyAV, the extra video, is not installed")
    monkeypatch.setattr(Decoder, "chosen", "pyav" if patch in (PYAV_READING, PYAV_OPENING) else "opencv")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with one image."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(cv2.imencode(".jpg", face_picture())[1].tobytes())
    return tmp_path / "pictures"


@pytest.mark.parametrize(
    ("patch", "source"),
    [
        (CAPTURE, "film"),
        (CAPTURE, "film --realtime"),
        (OPENING, "film"),
        (OPENING, "http"),
        (OPENING, "rtsp://127.0.0.1:9/x"),
        (PYAV_READING, "film"),
        (PYAV_READING, "film --realtime"),
        (PYAV_OPENING, "film"),
        (PYAV_OPENING, "http"),
        (PYAV_OPENING, "rtsp://127.0.0.1:9/x"),
        (IMAGES, "pictures"),
        (IMAGES, "pictures --realtime"),
        (DEVICE, "/dev/video97"),
        (PICAMERA2, "picamera2"),
        (DEMO, "demo"),
        (CLASSIFIER, "demo"),
    ],
    ids=[
        "film",
        "realtime-film",
        "opening-film",
        "http",
        "rtsp",
        "pyav-film",
        "pyav-realtime-film",
        "pyav-opening-film",
        "pyav-http",
        "pyav-rtsp",
        "images",
        "realtime-images",
        "v4l2",
        "picamera2",
        "demo",
        "detector",
    ],
)
def test_a_parked_source_does_not_prevent_the_end(
    tiny_bundle: Path,
    clip: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patch: str,
    source: str,
) -> None:
    choose_decoder(patch, monkeypatch)
    with mjpeg_server() as server:  # with an older OpenCV, its first answer is checked before the call that is parked
        places = {"film": str(clip), "pictures": str(pictures), "http": server.url("stream")}
        words = [*(places.get(word, word) for word in source.split()), "--stats", "s.json", "--trace", "t.jsonl"]
        took_s, code, errors = stop_parked(tmp_path, tiny_bundle, patch, *words)
    assert took_s < MAX_STOP_S, errors
    assert code == 0, errors
    assert errors.count("\n") <= 1
    assert "Traceback" not in errors
    if patch in (CAPTURE, PYAV_READING):  # what was recorded is kept
        assert json.loads((tmp_path / "s.json").read_text())["frames"] >= 1
        assert (tmp_path / "t.jsonl").read_text().count("\n") >= 1
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_parked_main_thread_does_not_prevent_the_end(
    tiny_bundle: Path, tmp_path: Path, number: int, code: int
) -> None:
    took_s, returned, errors = stop_parked(tmp_path, tiny_bundle, MAIN_THREAD, "demo", number=number)
    assert took_s < MAX_STOP_S, errors
    assert returned == code
    assert errors == "fer-edge: ended 5 s after the signal: a native call does not return\n"


def test_queued_events_do_not_delay_the_end(
    tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that does not answer has queued events, and the decoder hangs as well."""
    choose_decoder(CAPTURE, monkeypatch)
    (tmp_path / "c.toml").write_text('[webhook]\nurl = "http://127.0.0.1:9/"\n')
    words = (clip, "--config", "c.toml", "--realtime")
    took_s, _, errors = stop_parked(tmp_path, tiny_bundle, CAPTURE, *words)
    assert took_s < MAX_STOP_S, errors


@pytest.mark.usefixtures("decoder")
def test_a_playlist_that_names_itself_is_exit_2_in_bounded_time(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "self.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nself.m3u8\n")
    (tmp_path / "c.toml").write_text("[source]\ntimeout_s = 0.5\n")
    began = time.monotonic()
    result = fer_edge("run", "self.m3u8", "--config", "c.toml", "--bundle", tiny_bundle, cwd=tmp_path)
    assert_one_line(result, 2, "self.m3u8: cannot be opened within", "is it a playlist without end?")
    assert time.monotonic() - began < 30


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_sigterm_ends_the_opening_of_such_a_playlist(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nself.m3u8\n")
    real = """
real = cv2.VideoCapture
def opened(*arguments):
    print("parked", flush=True)
    return real(*arguments)
cv2.VideoCapture = opened
"""
    choose_decoder(real, monkeypatch)
    took_s, code, errors = stop_parked(tmp_path, tiny_bundle, real, "self.m3u8")
    assert took_s < MAX_STOP_S
    assert (code, errors) == (0, "")
