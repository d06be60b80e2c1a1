"""``fer-edge demo`` as a process: the events, the summary and the files."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import cv2

from support.edge_command import assert_one_line, clean_environment, command_line, fer_edge


def test_demo_prints_events_and_writes_a_video_and_a_contact_sheet(tiny_bundle: Path, tmp_path: Path) -> None:
    result = fer_edge("demo", "--seconds", 4, "--bundle", tiny_bundle, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "face 1  appeared" in result.stdout
    assert "60 frames" in result.stdout
    for said in ("frames per second", "MiB", "p50 ms", "p95 ms", "classify", "demo.mp4", "contact-sheet.jpg"):
        assert said in result.stdout
    out = tmp_path / "demo-output"
    clip = cv2.VideoCapture(str(out / "demo.mp4"))
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    assert clip.get(cv2.CAP_PROP_FPS) == 15
    sheet = cv2.imread(str(out / "contact-sheet.jpg"))
    assert sheet is not None
    assert sheet.shape[1] > 1600
    assert sorted(entry.name for entry in out.iterdir()) == ["contact-sheet.jpg", "demo.mp4"]


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
    assert cv2.VideoCapture(str(tmp_path / "out" / "demo.mp4")).read()[0]


def test_unwritable_folder(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_one_line(fer_edge("demo", "--out", "file", "--bundle", tiny_bundle, cwd=tmp_path), 6, "file")


def test_the_environment_selects_the_model(tiny_bundle: Path, tmp_path: Path) -> None:
    chosen = {"FER_EDGE_MODEL_BUNDLE": str(tiny_bundle), "FER_EDGE_MODEL_VARIANT": "int3"}
    assert_one_line(fer_edge("demo", cwd=tmp_path, settings=chosen), 4, "int3")
