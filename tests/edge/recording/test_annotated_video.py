"""The annotated video: its formats, that it can be read and played, and what a full disk leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import InputError, OutputError
from fer_edge.recording import video
from fer_edge.recording.video import AnnotatedVideo
from fer_edge.sources import open_source
from support.processes.edge_command import assert_one_line, clean_environment, fer_edge
from support.web.browser import Browser, browser_is_missing

SAMPLE = np.full((121, 161, 3), (40, 90, 200), np.uint8)
FORMATS = [("pyav", ".mp4"), ("pyav", ".webm"), ("opencv", ".webm")]


@pytest.fixture(params=FORMATS, ids=["h264", "vp8", "vp8-opencv"])
def suffix(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the video written by PyAV or OpenCV; return the suffix of its format."""
    writer, suffix = request.param
    if writer == "pyav":
        pytest.importorskip("av", reason="PyAV, the extra video, is not installed")
    else:
        monkeypatch.setattr(video, "missing_packages", lambda extra: ["av"])
    return str(suffix)


def test_the_video_can_be_read_and_runs_in_real_time(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with AnnotatedVideo(path, 10) as written:
        for at in (5.0, 5.1, 5.2, 5.5):  # two frames were dropped before the last
            written.write(SAMPLE, at)
        assert not path.exists()
    written.close()
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert capture.get(cv2.CAP_PROP_FPS) == 10
    picture = capture.read()[1]
    assert picture.shape == (120, 160, 3)
    assert picture.reshape(-1, 3).mean(axis=0) == pytest.approx((40, 90, 200), abs=6)  # in colour
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_no_frame_leaves_no_file(tmp_path: Path, suffix: str) -> None:
    AnnotatedVideo(tmp_path / f"out{suffix}", 10).close()
    assert list(tmp_path.iterdir()) == []


def test_unwritable_paths_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match=r"must be named \.mp4 or \.webm"):
        AnnotatedVideo(tmp_path / "out.avi", 10)
    with pytest.raises(OutputError):
        AnnotatedVideo(tmp_path / "missing" / f"out{suffix}", 10)


def test_mp4_without_pyav_is_refused_with_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "missing_packages", lambda extra: ["av"])
    with pytest.raises(InputError, match=r"out\.mp4: PyAV is needed .*pip install .*; or name it \.webm"):
        AnnotatedVideo(tmp_path / "out.mp4", 10)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a small file system, as root")
def test_a_full_disk_leaves_no_file(tmp_path: Path, suffix: str) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=True)
    try:
        noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
        written = AnnotatedVideo(small / f"out{suffix}", 10)
        with pytest.raises(OutputError, match="the video could not be written"), written:
            for index in range(60):
                written.write(np.roll(noise, index, axis=0), index / 10)
        with pytest.raises(OutputError):  # another frame of the queue
            written.write(noise, 10.0)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.skipif(browser_is_missing() is not None, reason=browser_is_missing() or "")
def test_a_browser_plays_it(tmp_path: Path, suffix: str) -> None:
    with AnnotatedVideo(tmp_path / f"out{suffix}", 10) as written:
        for index in range(20):
            written.write(SAMPLE, index / 10)
    page = f"""<video id=v src=out{suffix} muted autoplay onended="document.title='ended'"
        onerror="document.title='error ' + v.error.message"></video>"""
    (tmp_path / "page.html").write_text(f"<!doctype html><title>waiting</title>{page}", encoding="utf-8")
    with Browser(tmp_path) as browser:
        browser.open((tmp_path / "page.html").as_uri())
        browser.wait("the video ends", lambda: browser.run("return document.title") != "waiting")
        assert browser.run("return document.title") == "ended"
        assert browser.run("return [v.videoWidth, v.videoHeight]") == [160, 120]


@pytest.mark.slow
def test_run_records_in_colour_and_tells_the_same_events(tiny_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV, the extra video, is not installed")
    traces = []
    line = ("run", "demo", "--bundle", tiny_bundle, "--trace", "t.jsonl", "--max-frames", 60)
    for words in ((), ("--annotate", "seen.mp4")):
        result = fer_edge(*line, *words, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        traces.append((tmp_path / "t.jsonl").read_text())
    assert traces[0] == traces[1]
    capture = cv2.VideoCapture(str(tmp_path / "seen.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    pictures = [capture.read()[1] for _ in range(60)]
    assert all(np.ptp(picture.astype(int).mean(axis=(0, 1))) > 5 for picture in pictures)  # from the first one on


def test_run_refuses_a_name_at_once(tiny_bundle: Path, tmp_path: Path) -> None:
    result = fer_edge("run", "demo", "--bundle", tiny_bundle, "--annotate", "seen.avi", cwd=tmp_path)
    assert_one_line(result, 2, "seen.avi", ".mp4 or .webm")
    code = (
        "from fer_edge.system import extras; from fer_edge.commands.cli import program;"
        "extras._MODULES['video'] = ('no_such_module',); extras._PACKAGES['no_such_module'] = 'av'; program()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "run", "demo", "--bundle", str(tiny_bundle), "--annotate", "seen.mp4"],
        cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert_one_line(result, 2, "seen.mp4", "PyAV", "name it .webm")
    assert list(tmp_path.iterdir()) == []


def test_the_demo_is_in_colour_only_for_who_asks() -> None:
    with open_source("demo") as plain, open_source("demo") as coloured:
        coloured.keep_colour = True
        for _ in range(30):
            first, second = plain.read(1.0), coloured.read(1.0)
            assert np.array_equal(first.gray, second.gray)
            assert first.bgr is None and second.bgr.shape == (480, 640, 3)
