"""``fer-edge demo`` as a process: the events, the summary and the files."""

from __future__ import annotations

import signal
import subprocess
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.recording.video import video_suffix
from fer_edge.sources.demo.emotions_scene import LENGTH_S, EmotionsScene, expression_at
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge


def test_demo_prints_events_and_writes_a_video_and_a_contact_sheet(tiny_bundle: Path, tmp_path: Path) -> None:
    result = fer_edge("demo", "--seconds", 4, "--bundle", tiny_bundle, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    clip_name = f"demo{video_suffix()}"
    assert "face 1  appeared" in result.stdout
    assert "60 frames" in result.stdout
    for said in ("frames per second", "MiB", "p50 ms", "p95 ms", "classify", clip_name, "contact-sheet.jpg"):
        assert said in result.stdout
    out = tmp_path / "demo-output"
    clip = cv2.VideoCapture(str(out / clip_name))
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    assert clip.get(cv2.CAP_PROP_FPS) == 15
    sheet = cv2.imread(str(out / "contact-sheet.jpg"))
    assert sheet is not None
    assert sheet.shape[1] > 1600
    assert sorted(entry.name for entry in out.iterdir()) == ["contact-sheet.jpg", clip_name]


@pytest.mark.slow
def test_the_released_model_follows_the_face(tmp_path: Path) -> None:
    result = fer_edge("demo", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    changes = [line.split("changed")[1].split()[:3] for line in result.stdout.splitlines() if "changed" in line]
    emotions = ["neutral", "happy", "surprise", "sad", "fear", "happy"]
    assert [(before, after) for before, _, after in changes] == list(pairwise(emotions))
    clip = cv2.VideoCapture(str(tmp_path / "demo-output" / f"demo{video_suffix()}"))
    frame = clip.read()[1]
    assert frame.shape[1] == 640 and frame.shape[0] > 480  # the events are below the picture
    assert np.ptp(frame[:480].reshape(-1, 3).mean(axis=0)) > 10  # in colour


def test_the_scene_is_a_source_and_always_the_same(tiny_bundle: Path, tmp_path: Path) -> None:
    first, second = EmotionsScene(), EmotionsScene()
    assert np.array_equal(first.render(4.2, 3), second.render(4.2, 3))
    assert not np.array_equal(first.render(4.2, 3), first.render(4.2, 4))  # the noise
    words = ("run", "demo:emotions", "--bundle", tiny_bundle, "--max-frames", 3, "--trace", "t.jsonl")
    result = fer_edge(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "t.jsonl").read_text().count("\n") == 3


@given(st.floats(0, 100))
def test_expressions_change_smoothly_and_repeat(at: float) -> None:
    now, soon = expression_at(at), expression_at(at + 0.01)
    if at % LENGTH_S < LENGTH_S - 0.01:
        assert abs(now.jaw - soon.jaw) < 1 and abs(now.lid - soon.lid) < 0.1
    assert expression_at(at % LENGTH_S) == now


def test_ctrl_c_keeps_the_results_so_far(tiny_bundle: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command_line("demo", "--seconds", 600, "--bundle", tiny_bundle, "--out", "out"),
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "appeared" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert "frames per second" in rest
    assert cv2.VideoCapture(str(tmp_path / "out" / f"demo{video_suffix()}")).read()[0]


def test_unwritable_folder(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_one_line(fer_edge("demo", "--out", "file", "--bundle", tiny_bundle, cwd=tmp_path), 6, "file")


def test_the_environment_selects_the_model(tiny_bundle: Path, tmp_path: Path) -> None:
    chosen = {"FER_EDGE_MODEL_BUNDLE": str(tiny_bundle), "FER_EDGE_MODEL_VARIANT": "int3"}
    assert_one_line(fer_edge("demo", cwd=tmp_path, settings=chosen), 4, "int3")
