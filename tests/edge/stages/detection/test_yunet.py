"""YuNet finds a real face, upright and turned, in any region and at any scale, and returns pixels of the frame."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from fer_edge.errors import ConfigError, InputError
from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.detection.choice import make_detector
from fer_edge.stages.detection.haar import HaarFaceDetector
from fer_edge.stages.detection.yunet import YuNetFaceDetector, haar_box
from fer_edge.stills import StillFaceFinder
from fer_edge.types import Box, Face, Search, UInt8Array
from support.cameras.scenes import FACE_IN_PORTRAIT, demo_frames, portrait
from support.models.detectors import find
from support.models.yunet import yunet_file

WITH_CASCADE = hasattr(cv2, "CascadeClassifier")
"""OpenCV 5 has no cascade, and these tests also pass there."""
MIDDLE = (FACE_IN_PORTRAIT.centre[0], FACE_IN_PORTRAIT.centre[1])


@pytest.fixture(scope="module")
def yunet() -> DetectorSettings:
    return DetectorSettings(kind="yunet", model=str(yunet_file()))


@pytest.fixture(scope="module")
def detector(yunet: DetectorSettings) -> YuNetFaceDetector:
    return YuNetFaceDetector(yunet)


def the_one(faces: list[Face]) -> Box:
    assert len(faces) == 1
    assert 0 < faces[0].score <= 1
    return faces[0].box


@pytest.mark.parametrize(
    ("region", "scale"),
    [
        (None, 1.0),
        (None, 0.5),
        (None, 0.37),
        (Box(120, 20, 220, 200), 1.0),
        (Box(120, 20, 220, 200), 0.4),
        (Box(-50, -80, 400, 400), 0.5),
        (Box(150, 40, 141, 141), 0.45),
    ],
)
def test_the_face_is_found_in_frame_coordinates(detector: YuNetFaceDetector, region: Box | None, scale: float) -> None:
    gray = portrait()
    before = gray.copy()
    box = the_one(find(detector, gray, region, scale=scale))
    # As large as the box of the cascade, which the margin of the crop refers to.
    assert box.iou(FACE_IN_PORTRAIT) > 0.75 and box.width == box.height
    np.testing.assert_array_equal(gray, before)


def turned(degrees: float = 0.0, narrow: float = 1.0, scale: float = 1.0) -> UInt8Array:
    """Return the portrait, rotated about the face and compressed like a head turned sideways, uint8 [512, 512]."""
    matrix = cv2.getRotationMatrix2D(MIDDLE, degrees, scale)
    matrix[0] *= narrow
    matrix[0, 2] += (1 - narrow) * MIDDLE[0]
    return np.asarray(cv2.warpAffine(portrait(), matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE), np.uint8)


@pytest.mark.parametrize(
    ("degrees", "narrow"), [(-40, 1.0), (-30, 1.0), (-25, 1.0), (25, 1.0), (35, 1.0), (-20, 0.7), (25, 0.6)]
)
def test_turned_heads_missed_by_the_cascade_are_found(
    detector: YuNetFaceDetector, degrees: float, narrow: float
) -> None:
    gray = turned(degrees, narrow)
    found = find(detector, gray, scale=0.5)
    x, y = found[0].box.centre
    assert abs(x - MIDDLE[0]) < 25 and abs(y - MIDDLE[1]) < 25
    assert 0.6 * 95 < found[0].box.width < 1.5 * 95
    if WITH_CASCADE:
        assert not any(face.box.iou(found[0].box) > 0.5 for face in find(HaarFaceDetector(), gray, scale=0.5))


@settings(deadline=None, max_examples=25)
@given(side=st.integers(50, 400), x=st.floats(0.2, 0.8), y=st.floats(0.3, 0.7), scale=st.floats(0.3, 1.0))
def test_the_face_is_found_at_any_place_and_size(
    detector: YuNetFaceDetector, side: int, x: float, y: float, scale: float
) -> None:
    factor = side / FACE_IN_PORTRAIT.width
    scale = max(scale, min(1.0, 40 / side))
    matrix = np.array([[factor, 0, x * 900 - factor * MIDDLE[0]], [0, factor, y * 700 - factor * MIDDLE[1]]])
    gray = np.asarray(cv2.warpAffine(portrait(), matrix, (900, 700), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    found = find(detector, gray, scale=scale, min_face=20)
    truth = Box(round(x * 900 - side / 2), round(y * 700 - side / 2), side, side)
    assert found and found[0].box.iou(truth) > 0.6


def test_a_face_that_fills_a_large_image_is_found(yunet: DetectorSettings) -> None:
    head = portrait()[10:230, 120:340]
    large = np.asarray(cv2.resize(head, (2200, 2200), interpolation=cv2.INTER_CUBIC), np.uint8)
    box = the_one(StillFaceFinder(RuntimeSettings(detector=yunet)).find(large))
    assert box.iou(Box(570, 560, 950, 950)) > 0.7


def test_only_the_region_is_searched(detector: YuNetFaceDetector) -> None:
    gray = portrait()
    for outside in (
        Box(300, 250, 180, 180),
        Box(280, 0, 100, 200),  # next to the face, a part of which is in the searched image
        Box(9999, 0, 100, 100),
        Box(0, -500, 200, 200),
        Box(10, 10, 0, 0),
        Box(5, 5, 9, 9),
    ):
        assert find(detector, gray, outside) == []


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_hidden_faces_are_not_found(detector: YuNetFaceDetector, scale: float) -> None:
    gray = np.hstack([portrait(), portrait()])
    right = replace(FACE_IN_PORTRAIT, x=FACE_IN_PORTRAIT.x + portrait().shape[1])
    assert len(find(detector, gray, scale=scale)) == 2
    box = the_one(find(detector, gray, scale=scale, hidden=[right, Box(-50, -50, 60, 60), Box(5000, 0, 9, 9)]))
    assert box.iou(FACE_IN_PORTRAIT) > 0.75


def test_size_limits_hold_in_frame_pixels(detector: YuNetFaceDetector) -> None:
    gray = portrait()
    assert find(detector, gray, scale=0.5, min_face=60, max_face=160)
    assert find(detector, gray, scale=0.5, min_face=140) == []
    assert find(detector, gray, scale=0.5, max_face=60) == []


def test_a_known_face_needs_a_lower_score(yunet: DetectorSettings) -> None:
    strict = YuNetFaceDetector(structs.replace(yunet, min_score=0.99, known_min_score=0.3))
    assert find(strict, portrait(), scale=0.5) == []
    assert find(strict, portrait(), scale=0.5, known=True)


@pytest.mark.parametrize("shape", [(1, 1), (9, 9), (31, 33), (480, 10), (7, 2000)])
def test_small_and_odd_frames(detector: YuNetFaceDetector, shape: tuple[int, int]) -> None:
    assert find(detector, np.full(shape, 128, np.uint8)) == []


def test_other_arrays_are_refused(detector: YuNetFaceDetector) -> None:
    with pytest.raises(InputError):
        detector.detect(np.zeros((64, 64, 3), np.uint8), Search(Box(0, 0, 64, 64)))
    with pytest.raises(ConfigError):
        YuNetFaceDetector(DetectorSettings())


def test_results_do_not_depend_on_earlier_image_sizes(detector: YuNetFaceDetector, yunet: DetectorSettings) -> None:
    """Networks are cached by size, and reused for other sizes.

    OpenCV's order of summation depends on the alignment of memory, so the last digits of a score may differ.
    """
    gray = portrait()
    regions = [FACE_IN_PORTRAIT.grown(factor) for factor in (1.5, 1.9, 2.3, 2.7, 3.1, 3.5, 4.0)]
    first = [find(YuNetFaceDetector(yunet), gray, region, scale=0.6) for region in regions]
    assert [len(faces) for faces in first] == [1] * len(regions)
    for _ in range(3):
        for region, (expected,) in zip(regions, first, strict=True):
            (face,) = find(detector, gray, region, scale=0.6)
            assert face.box.iou(expected.box) > 0.97
            assert face.score == pytest.approx(expected.score, abs=1e-5)


sides = st.floats(1, 2000)


@given(st.floats(-500, 2000), st.floats(-500, 2000), sides, sides, st.integers(2, 9))
def test_the_converted_box_is_square_centred_and_scales_with_the_face(
    x: float, y: float, width: float, height: float, factor: int
) -> None:
    box = haar_box(x, y, width, height)
    assert box.width == box.height >= 1
    assert min(width, height) - 1 <= box.width <= 1.05 * max(width, height) + 1
    assert abs(box.centre[0] - (x + width / 2)) <= 1
    assert abs(box.centre[1] - (y + height / 2)) <= 0.021 * box.width + 1.01
    larger = haar_box(factor * x, factor * y, factor * width, factor * height)
    for small, large in zip(box.as_list(), larger.as_list(), strict=True):
        assert abs(factor * small - large) <= 1.5 * factor + 2


# In the pipeline


def test_the_settings_choose_the_detector(yunet: DetectorSettings) -> None:
    assert isinstance(make_detector(yunet), YuNetFaceDetector)
    if WITH_CASCADE:
        assert isinstance(make_detector(DetectorSettings()), HaarFaceDetector)


def test_a_moving_face_is_followed_and_the_same_frames_give_the_same_tracks(yunet: DetectorSettings) -> None:
    frames = demo_frames(0.0, 6.0)

    def tracks() -> list[list[tuple[int, list[int]]]]:
        with load_bundle(None) as bundle, Pipeline.from_bundle(bundle, RuntimeSettings(detector=yunet)) as pipeline:
            run = pipeline.open()
            results = [run.process(frame) for frame, _ in frames]
        return [[(track.track_id, track.box.as_list()) for track in result.tracks] for result in results]

    found = tracks()
    assert found == tracks()
    inside = [
        (shown, truth)
        for shown, (frame, truth) in zip(found, frames, strict=True)
        if truth.clipped(frame.width, frame.height) == truth and frame.captured_at > 2.0  # it came into view at 1.0
    ]
    assert len(inside) > 30
    hit = [any(Box(*box).iou(truth) > 0.5 for _, box in shown) for shown, truth in inside]
    assert sum(hit) > 0.9 * len(hit)
    assert len({track_id for shown in found for track_id, _ in shown}) == 1


def test_it_works_where_opencv_has_no_cascade(yunet: DetectorSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)  # as in OpenCV 5
    with load_bundle(None) as bundle, Pipeline.from_bundle(bundle, RuntimeSettings(detector=yunet)) as pipeline:
        run = pipeline.open()
        for frame, _ in demo_frames(3.0, 5.0):
            result = run.process(frame)
    assert result.tracks
