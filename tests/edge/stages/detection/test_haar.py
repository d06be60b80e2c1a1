"""The cascade finds a real face in any region and at any scale, and returns pixels of the frame."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import ModelError
from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.stages.detection import haar as detection
from fer_edge.stages.detection.haar import HaarFaceDetector
from fer_edge.stages.detection.overlaps import suppress_overlaps
from fer_edge.types import Box, Face
from support.cameras.scenes import FACE_IN_PORTRAIT, portrait
from support.models.detectors import find


@pytest.mark.parametrize(
    ("region", "scale"),
    [
        (None, 1.0),
        (None, 0.5),
        (Box(120, 20, 220, 200), 1.0),
        (Box(120, 20, 220, 200), 0.4),
        (Box(-50, -80, 400, 400), 0.5),
    ],
)
def test_the_face_is_found_in_frame_coordinates(region: Box | None, scale: float) -> None:
    faces = find(HaarFaceDetector(), portrait(), region, scale=scale)
    assert faces and faces[0].box.iou(FACE_IN_PORTRAIT) > 0.75
    assert faces[0].score > 0


def test_only_the_region_is_searched() -> None:
    gray = portrait()
    detector = HaarFaceDetector()
    assert find(detector, gray, Box(300, 250, 180, 180)) == []
    for outside in (Box(9999, 0, 100, 100), Box(0, -500, 200, 200), Box(10, 10, 0, 0), Box(5, 5, 10, 10)):
        assert find(detector, gray, outside) == []


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_hidden_faces_are_not_found_and_the_frame_is_not_modified(scale: float) -> None:
    gray, detector = np.hstack([portrait(), portrait()]), HaarFaceDetector()
    right = replace(FACE_IN_PORTRAIT, x=FACE_IN_PORTRAIT.x + portrait().shape[1])
    before = gray.copy()
    both = find(detector, gray, scale=scale)
    assert all(any(face.box.iou(box) > 0.75 for face in both) for box in (FACE_IN_PORTRAIT, right))
    left_alone = find(detector, gray, scale=scale, hidden=[right, Box(-50, -50, 60, 60), Box(5000, 0, 9, 9)])
    assert any(face.box.iou(FACE_IN_PORTRAIT) > 0.75 for face in left_alone)
    assert not any(face.box.iou(right) > 0 for face in left_alone)
    assert find(detector, gray, right.grown(1.5), scale=scale, hidden=[right]) == []
    np.testing.assert_array_equal(gray, before)


def test_size_limits_hold_in_frame_pixels() -> None:
    gray, detector = portrait(), HaarFaceDetector()
    assert find(detector, gray, scale=0.5, min_face=60, max_face=160)
    assert find(detector, gray, scale=0.5, min_face=140) == []
    assert find(detector, gray, scale=0.5, max_face=60) == []


@pytest.mark.parametrize("shape", [(1, 1), (23, 23), (24, 24), (480, 10)])
def test_frames_too_small_for_a_face_have_none(shape: tuple[int, int]) -> None:
    assert find(HaarFaceDetector(), np.full(shape, 128, np.uint8)) == []


def test_detection_is_deterministic() -> None:
    gray, detector = portrait(), HaarFaceDetector(DetectorSettings(min_neighbors=0))
    first = find(detector, gray, scale=0.4)
    assert len(first) >= 1
    assert all(find(detector, gray, scale=0.4) == first for _ in range(3))


faces = st.lists(
    st.builds(
        Face,
        st.builds(Box, st.integers(0, 60), st.integers(0, 60), st.integers(1, 50), st.integers(1, 50)),
        st.integers(0, 5).map(float),
    ),
    max_size=8,
)


@given(faces, st.randoms())
def test_suppression_keeps_the_highest_score_and_no_overlapping_pair(found: list[Face], shuffle: random.Random) -> None:
    kept = suppress_overlaps(found)
    assert all(a.box.iou(b.box) <= 0.4 for a in kept for b in kept if a is not b)
    assert all(face in found for face in kept)
    if found:
        assert kept[0].score == max(face.score for face in found)
    assert suppress_overlaps(kept) == kept
    shuffle.shuffle(found)
    assert suppress_overlaps(found) == kept


def test_a_small_box_inside_a_face_is_dropped() -> None:
    outer, inner = Face(Box(0, 0, 100, 100), 5.0), Face(Box(30, 30, 30, 30), 2.0)
    assert suppress_overlaps([inner, outer]) == [outer]


def test_opencv_without_cascades_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # As with OpenCV 5, and with Debian's python3-opencv without opencv-data.
    monkeypatch.setattr(detection, "_DEBIAN_CASCADES", tmp_path)
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(ModelError, match="opencv-data"):
        HaarFaceDetector()
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(ModelError, match=r"no CascadeClassifier.*<5"):
        HaarFaceDetector()


def test_the_debian_folder_is_used_if_that_of_the_wheel_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = Path(cv2.data.haarcascades) / detection.CASCADE_FILE
    (tmp_path / detection.CASCADE_FILE).write_bytes(source.read_bytes())
    monkeypatch.setattr(detection, "_DEBIAN_CASCADES", tmp_path)
    monkeypatch.delattr(cv2, "data")
    assert find(HaarFaceDetector(), portrait(), scale=0.5)
