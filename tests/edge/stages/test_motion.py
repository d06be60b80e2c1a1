"""Motion is detected, also slow motion; noise, changes of light and single pixels are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.stages.motion import MotionDetector
from fer_edge.types import Box, SceneMotion, UInt8Array

SIZE = (640, 480)
RANDOM = np.random.default_rng(0)
WALL = np.kron(RANDOM.integers(60, 200, (30, 40)), np.ones((16, 16))).astype(np.float32)
FACE = Box(288, 208, 48, 48)
"""The smallest face that is searched for at this frame size."""


def _noisy(picture: np.ndarray, sigma: float = 4.0) -> UInt8Array:
    return (picture + RANDOM.normal(0, sigma, picture.shape)).clip(0, 255).astype(np.uint8)


def _with_face(contrast: float) -> np.ndarray:
    picture = WALL.copy()
    picture[FACE.y : FACE.y + FACE.height, FACE.x : FACE.x + FACE.width] += contrast
    return picture


def _feed(pictures: list[np.ndarray], sigma: float = 4.0, known: tuple[Box, ...] = ()) -> SceneMotion:
    detector = MotionDetector()
    for index, picture in enumerate(pictures):
        motion = detector.update(_noisy(picture, sigma), float(index), known)
    return motion


def test_noise_is_not_motion() -> None:
    assert _feed([WALL] * 60).last_unexplained(Box(0, 0, *SIZE)) == 0.0


def test_drifting_light_is_not_motion() -> None:
    assert _feed([WALL * (0.7 + 0.01 * index) for index in range(60)]).last_unexplained(Box(0, 0, *SIZE)) == 0.0


@pytest.mark.parametrize("contrast", [-40.0, 25.0])
def test_the_smallest_face_is_an_unexplained_change_at_its_position(contrast: float) -> None:
    motion = _feed([WALL] * 5 + [_with_face(contrast)] * 5)
    assert motion.last_unexplained(FACE) == motion.last_change(FACE) == 5.0
    assert motion.last_unexplained(Box(0, 0, 200, 480)) == 0.0


def test_a_face_that_appears_slowly_is_detected() -> None:
    motion = _feed([_with_face(0.25 * index) for index in range(100)])
    assert motion.last_unexplained(FACE) > 0


def test_motion_of_a_known_face_is_explained() -> None:
    pictures = [_with_face(40.0 * (index % 2)) for index in range(10)]
    motion = _feed(pictures, known=(FACE.grown(1.6),))
    assert motion.last_unexplained(Box(0, 0, *SIZE)) == 0.0
    assert motion.last_change(FACE) == 9.0


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (480, 10), (1080, 1920)])
@pytest.mark.parametrize("level", [0, 255])
def test_any_image_size_and_level_is_accepted(shape: tuple[int, int], level: int) -> None:
    detector = MotionDetector()
    for now in (0.0, 1.0):
        motion = detector.update(np.full(shape, level, np.uint8), now)
    assert motion.last_change(Box(0, 0, shape[1], shape[0])) == 0.0
    motion = detector.update(np.full((77, 99), level, np.uint8), 2.0)  # a new frame size resets everything
    assert motion.frame_size == (99, 77) and motion.last_unexplained(Box(0, 0, 99, 77)) == 2.0


@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.builds(Box, st.integers(-90, 800), st.integers(-90, 800), st.integers(0, 300), st.integers(0, 300)),
)
def test_the_cells_of_a_box_cover_it(size: tuple[int, int], grid: tuple[int, int], box: Box) -> None:
    motion = SceneMotion(size, np.zeros(grid), np.zeros(grid))
    rows, columns = motion.cells(box)
    inside = box.clipped(*size)
    if inside.area == 0:
        assert motion.last_change(box) == -np.inf
        return
    assert rows.start * size[1] <= inside.y * grid[0] and inside.x * grid[1] >= columns.start * size[0]
    assert rows.stop * size[1] >= (inside.y + inside.height) * grid[0]
    assert columns.stop * size[0] >= (inside.x + inside.width) * grid[1]
    assert 0 <= rows.start < rows.stop <= grid[0] and 0 <= columns.start < columns.stop <= grid[1]
