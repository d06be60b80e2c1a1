"""Sources: which frames they return, in which order, with which times, and how they refuse."""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import InputError, SourceLostError
from fer_edge.images.files import read_gray
from fer_edge.protocols import FrameSource, NoFrame
from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import open_source, source_names
from fer_edge.sources.base import DEFAULT_FPS
from fer_edge.stages.detection.haar import HaarFaceDetector
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.types import Frame
from support.models.detectors import find
from support.processes.edge_command import demo_pixels, face_picture, undecodable_png, write_video

SETTINGS = SourceSettings()


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    set_up_opencv()


def read_all(source: FrameSource) -> list[Frame]:
    frames = []
    with source:
        while (frame := source.read(1.0)) is not NoFrame.ENDED:
            if isinstance(frame, Frame):
                frames.append(frame)
    return frames


def test_demo_is_deterministic_and_repeats_no_frame() -> None:
    first, second = demo_pixels(5), demo_pixels(5)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[1])


def test_demo_shows_a_face_that_leaves_and_returns() -> None:
    detector = HaarFaceDetector(DetectorSettings())
    with open_source("demo", SETTINGS) as source:
        frames = [source.read(0.0) for _ in range(300)]
        assert source.read(0.0) is NoFrame.ENDED
    counts = []
    for at in (4.0, 8.0, 13.6, 17.0):
        frame = frames[round(at * 15)]
        assert isinstance(frame, Frame)
        assert frame.gray.shape == (480, 640)
        assert frame.captured_at == pytest.approx(at)
        counts.append(len(find(detector, frame.gray, scale=0.5)))
    assert counts == [1, 1, 0, 1]


@pytest.mark.parametrize(("suffix", "code"), [("mp4", "mp4v"), ("avi", "MJPG")])
def test_video_returns_every_frame_with_container_time(tmp_path: Path, suffix: str, code: str) -> None:
    path = write_video(tmp_path / f"clip.{suffix}", 20, code=code, fps=10)
    frames = read_all(open_source(str(path), SETTINGS))
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.captured_at for frame in frames] == pytest.approx([i / 10 for i in range(20)], abs=1e-3)
    assert {frame.source for frame in frames} == {f"clip.{suffix}"}
    assert frames[0].gray.shape == (480, 640)
    assert frames[0].gray.dtype == np.uint8


def test_a_raw_stream_without_timestamps_uses_the_frame_rate(tmp_path: Path) -> None:
    data = b"".join(cv2.imencode(".jpg", pixels)[1].tobytes() for pixels in demo_pixels(4))
    path = tmp_path / "raw.mjpeg"
    path.write_bytes(data)
    times = [frame.captured_at for frame in read_all(open_source(str(path), SETTINGS))]
    assert len(times) == 4
    assert np.diff(times) == pytest.approx([1 / DEFAULT_FPS] * 3, abs=1e-3)


def test_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((32, 40), number * 20, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    frames = read_all(open_source(str(tmp_path), SourceSettings(fps=4)))
    assert [int(frame.gray[0, 0]) for frame in frames] == [20, 40, 200]
    assert [frame.captured_at for frame in frames] == [0.0, 0.25, 0.5]


def test_one_image_is_one_frame(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.jpg"), face_picture())
    frames = read_all(open_source(str(tmp_path / "one.jpg"), SETTINGS))
    assert [(frame.index, frame.captured_at) for frame in frames] == [(0, 0.0)]


def test_only_a_single_picture_is_a_still(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.jpg"), face_picture())
    stills = []
    for uri in ("demo", str(write_video(tmp_path / "clip.mp4", 3)), str(tmp_path / "1.jpg"), str(tmp_path)):
        for realtime in (False, True):
            with open_source(uri, SETTINGS, realtime=realtime) as source:
                stills.append(source.still)
    assert stills == [False, False, False, False, True, True, True, True]  # so is a folder with one picture
    cv2.imwrite(str(tmp_path / "2.jpg"), face_picture())
    with open_source(str(tmp_path), SETTINGS) as source:
        assert not source.still


def test_realtime_paces_a_file_and_the_newest_frame_wins(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 20, fps=20)
    indices, ages = [], []
    began = time.monotonic()
    with open_source(str(path), SETTINGS, realtime=True) as source:
        while (frame := source.read(2.0)) is not NoFrame.ENDED:
            if isinstance(frame, Frame):
                indices.append(frame.index)
                assert frame.glass_at is not None
                ages.append(time.monotonic() - frame.glass_at)
                time.sleep(0.2)  # a pipeline that is four times too slow
        assert source.dropped == 20 - len(indices)
    assert time.monotonic() - began >= 19 / 20
    # Without skipping, the last frame would be three seconds old; a busy machine may delay a single one.
    assert min(ages) > -0.05 and statistics.median(ages) < 1
    assert len(indices) <= 12
    assert indices == sorted(set(indices))
    assert indices[-1] == 19


def test_a_slow_reader_buffers_one_frame_and_close_stops_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 3, fps=0.2)  # no second frame arrives during the check
    source = open_source(str(path), SETTINGS, realtime=True)
    assert isinstance(source.read(60.0), Frame)
    assert source.read(0.0) is NoFrame.NOT_YET
    source.close()
    source.close()
    assert source.read(0.0) is NoFrame.ENDED


def _cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tiff", "pgm"])
def test_an_incomplete_image_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"one.{suffix}"
    cv2.imwrite(str(path), face_picture())
    assert read_gray(path).shape == (480, 640)
    with pytest.raises(InputError, match=str(path)):
        read_gray(_cut(path, share))


def test_an_incomplete_jpeg_with_a_thumbnail_is_refused(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", face_picture())[1].tobytes()
    thumbnail = b"Exif\0\0" + cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()
    whole = data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]
    path = tmp_path / "one.jpg"
    path.write_bytes(whole)
    assert read_gray(path).shape == (480, 640)
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cut short"):
        read_gray(path)


def test_an_incomplete_video_is_reported_after_its_frames(tmp_path: Path) -> None:
    path = _cut(write_video(tmp_path / "clip.avi", 30, code="MJPG"), 0.5)
    source = open_source(str(path), SETTINGS)
    seen = 0
    with pytest.raises(InputError, match="incomplete"), source:
        while source.read(0.0) is not NoFrame.ENDED:
            seen += 1
    assert 10 <= seen <= 20


@pytest.mark.parametrize("uri", ["ftp://host/stream", "picamera", "nothing.mp4", "no/such/folder", ""])
def test_missing_and_unsupported_sources_are_refused(uri: str) -> None:
    with pytest.raises(InputError):
        open_source(uri, SETTINGS)


@pytest.mark.parametrize("uri", ["97", "/dev/video97"])
def test_missing_camera(uri: str) -> None:
    with pytest.raises(SourceLostError, match="97"):
        open_source(uri, SETTINGS)


def test_parallel_decoding_restores_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.png").write_bytes(undecodable_png())

    def work() -> None:
        for _ in range(20):
            with pytest.raises(InputError):
                read_gray(tmp_path / "bad.png")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"


def test_source_names() -> None:
    named = {
        "demo": "demo",
        "0": "video0",
        "/dev/video2": "video2",
        "a/x.mp4": "x.mp4",
        "b/x.mp4": "x.mp4-2",
        "rtsp://u:pw@door.local:554/live?user=me": "door.local",
        "http://door.local/video": "door.local-2",
        "picamera2": "picamera2",
        "picamera2:1": "picamera2:1",
        "picamera2:/base/soc/i2c0mux/i2c@1/imx219@10": "imx219@10",
        "picamera2:/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a": "imx708@1a",
    }
    assert dict(zip(named, source_names(list(named)), strict=True)) == named


def test_source_names_are_unique() -> None:
    assert source_names(["rtsp://cam-2/a", "rtsp://cam/a", "rtsp://cam/b"]) == ["cam-2", "cam", "cam-3"]
    assert source_names(["x/cam-front", "y/cam"]) == ["cam-front", "cam"]
