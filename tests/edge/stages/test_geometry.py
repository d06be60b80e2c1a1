"""Properties of boxes and crops for any numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.images.resample import resample
from fer_edge.stages.crop import crop_face
from fer_edge.types import Box, CropSpec, Face

coordinate = st.integers(-300, 300)
side = st.integers(0, 300)
boxes = st.builds(Box, coordinate, coordinate, side, side)
solid_boxes = st.builds(Box, coordinate, coordinate, st.integers(1, 300), st.integers(1, 300))


def _pixels(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box.x, box.x + box.width) for y in range(box.y, box.y + box.height)}


@given(boxes, boxes)
def test_iou_is_symmetric_and_between_0_and_1(a: Box, b: Box) -> None:
    assert a.iou(b) == b.iou(a)
    assert 0.0 <= a.iou(b) <= 1.0


@given(solid_boxes)
def test_iou_with_itself_is_one(box: Box) -> None:
    assert box.iou(box) == 1.0


small = st.builds(Box, st.integers(-6, 6), st.integers(-6, 6), st.integers(0, 7), st.integers(0, 7))


@given(small, small)
def test_iou_counts_pixels(a: Box, b: Box) -> None:
    union = _pixels(a) | _pixels(b)
    wanted = len(_pixels(a) & _pixels(b)) / len(union) if union else 0.0
    assert a.iou(b) == pytest.approx(wanted)


@given(boxes, st.integers(1, 200), st.integers(1, 200))
def test_clipped_is_inside_and_complete(box: Box, width: int, height: int) -> None:
    inside = box.clipped(width, height)
    assert inside.x >= 0 and inside.y >= 0 and inside.width >= 0 and inside.height >= 0
    assert inside.x + inside.width <= width and inside.y + inside.height <= height
    assert inside.clipped(width, height) == inside


@given(small, st.integers(1, 6), st.integers(1, 6))
def test_clipped_keeps_exactly_the_pixels_of_the_frame(box: Box, width: int, height: int) -> None:
    assert _pixels(box.clipped(width, height)) == _pixels(box) & _pixels(Box(0, 0, width, height))


@given(solid_boxes, st.floats(0.5, 4.0))
def test_grown_keeps_the_centre(box: Box, factor: float) -> None:
    grown = box.grown(factor)
    assert grown.width == round(box.width * factor)
    for before, after in zip(box.centre, grown.centre, strict=True):
        assert abs(before - after) <= 0.5
    assert box.grown(1.0).width == box.width


@given(
    frame=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    box=st.builds(Box, st.integers(-60, 100), st.integers(-60, 100), st.integers(1, 120), st.integers(1, 120)),
    margin=st.floats(0.6, 2.0),
)
def test_a_crop_at_any_border_has_only_pixels_of_the_frame(frame: tuple[int, int], box: Box, margin: float) -> None:
    gray = np.random.default_rng(0).integers(50, 200, frame, dtype=np.uint8)
    spec = CropSpec(48, 40, margin)
    inside = box.grown(margin).clipped(frame[1], frame[0])
    if inside.area == 0:
        with pytest.raises(ValueError, match="outside"):
            crop_face(gray, Face(box, 1.0), spec)
        return
    crop = crop_face(gray, Face(box, 1.0), spec)
    assert crop.pixels.shape == (48, 40) and crop.pixels.dtype == np.uint8
    assert crop.quality == pytest.approx(inside.area / box.grown(margin).area)
    part = gray[inside.y : inside.y + inside.height, inside.x : inside.x + inside.width]
    # The crop has no values from outside the frame, such as black borders.
    assert part.min() <= crop.pixels.min() and crop.pixels.max() <= part.max()


@given(st.integers(1, 130), st.integers(2, 130), st.sampled_from([(48, 40), (40, 48), (64, 64)]), st.booleans())
def test_resampling_an_edge_gives_no_values_beyond_both_sides(
    height: int, width: int, size: tuple[int, int], turned: bool
) -> None:
    gray = np.full((height, width), 200, np.uint8)
    gray[:, 0] = 100
    found = resample(gray.T if turned else gray, *size)
    assert found.shape == size and found.dtype == np.uint8
    assert found.min() >= 100 and found.max() <= 200


def test_a_crop_inside_the_frame_equals_the_frame() -> None:
    gray = np.arange(100 * 100, dtype=np.uint32).reshape(100, 100).astype(np.uint8)
    crop = crop_face(gray, Face(Box(10, 20, 48, 48), 1.0), CropSpec(48, 48, 1.0))
    np.testing.assert_array_equal(crop.pixels, gray[20:68, 10:58])
    assert crop.quality == 1.0


def test_a_crop_over_a_corner_repeats_the_edge() -> None:
    gray = np.zeros((40, 40), dtype=np.uint8)
    gray[:, 0] = 255
    crop = crop_face(gray, Face(Box(-20, 0, 40, 40), 1.0), CropSpec(40, 40, 1.0))
    np.testing.assert_array_equal(crop.pixels[:, :21], 255)
    np.testing.assert_array_equal(crop.pixels[:, 21:], 0)
    assert crop.quality == 0.5


def test_an_empty_box_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        crop_face(np.zeros((10, 10), np.uint8), Face(Box(0, 0, 0, 5), 1.0), CropSpec(48, 48))


@given(st.integers(1, 120), st.integers(1, 120), st.integers(0, 255))
def test_resampling_keeps_a_uniform_image_uniform(height: int, width: int, level: int) -> None:
    out = resample(np.full((height, width), level, dtype=np.uint8), 48, 48)
    np.testing.assert_array_equal(out, level)
