"""``benchmarks/camera_formats.py``: both ways give the same picture, and the table has all formats."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

import camera_formats


def test_both_ways_give_the_same_picture() -> None:
    for case in camera_formats.cases(320, 240):
        straight = case.straight()
        assert straight.shape == (240 // case.reduction, 320 // case.reduction)
        if case.by_colours is None:
            continue
        by_colours = case.by_colours()
        if case.reduction == 2:
            by_colours = np.asarray(cv2.resize(by_colours, (160, 120), interpolation=cv2.INTER_AREA), np.uint8)
        # OpenCV assumes the limited range of YUV, and stretches it on conversion to color.
        if case.format.name in ("YUYV", "NV12", "YU12"):
            by_colours = np.rint(by_colours * (219 / 255) + 16).astype(np.uint8)
        assert np.abs(straight.astype(int) - by_colours).mean() < 2, case.format


def test_the_table() -> None:
    script = Path(camera_formats.__file__)
    command = [sys.executable, str(script), "--rounds", "1", "--size", "64x48"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in ("YUYV", "NV12", "YU12", "422P", "GREY", "RGB3", "BGR3", "MJPG"):
        assert f"| {name} 64x48 |" in said
    wrong = subprocess.run([*command, "--size", "big"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and wrong.stderr.splitlines()[-1].endswith("must be two numbers such as 640x480")
