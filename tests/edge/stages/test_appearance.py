"""Template matching: a detected face is found again at its position, and nothing else is mistaken for it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.stages.appearance import MIN_STD_DEV, SEARCH_MARGIN, TEMPLATE_PX, AppearanceTracker, Template, correlate
from fer_edge.types import Box, Face, Track, UInt8Array
from support.cameras.scenes import FACE_IN_PORTRAIT, portrait

seeds = st.integers(0, 2**32 - 1)


def _track(box: Box = FACE_IN_PORTRAIT, seen: float = 0.0, track_id: int = 1, *, confirmed: bool = True) -> Track:
    return Track(track_id, box, seen, confirmed, face=Face(box, 1.0), last_searched=seen, found=True)


def _moved(gray: UInt8Array, x: int, y: int) -> UInt8Array:
    height, width = gray.shape
    moved = cv2.warpAffine(gray, np.float32([[1, 0, x], [0, 1, y]]), (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, dtype=np.uint8)


def _tracker(gray: UInt8Array, *tracks: Track) -> AppearanceTracker:
    tracker = AppearanceTracker()
    tracker.update(gray, tracks)
    return tracker


def _noise(generator: np.random.Generator, *shape: int) -> UInt8Array:
    return generator.integers(0, 256, shape).astype(np.uint8)


@given(seed=seeds, side=st.integers(2, TEMPLATE_PX), more=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_the_correlation_is_pearsons_of_each_window(seed: int, side: int, more: tuple[int, int]) -> None:
    generator = np.random.default_rng(seed)
    image, template = _noise(generator, side + more[0], side + more[1]), _noise(generator, side, side)
    correlations = correlate(image, Template(template))
    assert correlations.shape == (more[0] + 1, more[1] + 1)
    for (row, column), found in np.ndenumerate(correlations):
        part = image[row : row + side, column : column + side]
        if part.std() > MIN_STD_DEV + 1e-6 and template.std() > MIN_STD_DEV + 1e-6:
            assert found == pytest.approx(np.corrcoef(part.ravel(), template.ravel())[0, 1], abs=1e-5)
        elif min(part.std(), template.std()) < MIN_STD_DEV - 1e-6:
            assert found == 0.0


@given(seed=seeds, level=st.sampled_from([0, 1, 128, 255]))
def test_identical_is_1_inverted_is_minus_1_and_uniform_is_0(seed: int, level: int) -> None:
    template = _noise(np.random.default_rng(seed), TEMPLATE_PX, TEMPLATE_PX)
    flat = np.full((TEMPLATE_PX, TEMPLATE_PX), level, np.uint8)
    assert correlate(template, Template(template)) == pytest.approx(1.0)
    assert correlate(255 - template, Template(template)) == pytest.approx(-1.0)
    assert correlate(flat, Template(template)) == correlate(template, Template(flat)) == 0.0


@settings(max_examples=30)
@given(
    shift=st.tuples(st.floats(-SEARCH_MARGIN, SEARCH_MARGIN), st.floats(-SEARCH_MARGIN, SEARCH_MARGIN)),
    light=st.floats(0.6, 1.3),
    seed=seeds,
)
def test_a_moved_face_is_found_under_any_light_and_noise(shift: tuple[float, float], light: float, seed: int) -> None:
    gray, track = portrait(), _track()
    tracker = _tracker(gray, track)
    dx, dy = (round(share * track.box.width) for share in shift)
    noise = np.random.default_rng(seed).normal(0, 4, gray.shape)
    now = np.clip(light * _moved(gray, dx, dy) + noise, 0, 255).astype(np.uint8)
    found = tracker.find(now, [track])[1]
    true = replace(track.box, x=track.box.x + dx, y=track.box.y + dy)
    assert found.iou(true) > 0.8


@pytest.mark.parametrize("zoom", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_the_size_of_an_approaching_or_receding_face_is_followed(zoom: float) -> None:
    gray, track = portrait(), _track()
    tracker = _tracker(gray, track)
    x, y = track.box.centre
    for step in np.linspace(1, zoom, 5):
        matrix = np.float32([[step, 0, x * (1 - step)], [0, step, y * (1 - step)]])
        picture = cv2.warpAffine(gray, matrix, gray.shape[::-1], borderMode=cv2.BORDER_REFLECT)
        track = replace(track, box=tracker.find(np.asarray(picture, np.uint8), [track])[1])
    assert track.box.iou(FACE_IN_PORTRAIT.grown(zoom)) > 0.75


@pytest.mark.parametrize("shape", [(1.0, 1.2), (1.0, 1.35), (0.75, 1.0)])
def test_a_box_that_is_not_square_is_followed(shape: tuple[float, float]) -> None:
    face = FACE_IN_PORTRAIT
    box = Box(face.x, face.y, round(face.width * shape[0]), round(face.height * shape[1]))
    tracker = _tracker(portrait(), _track(box))
    assert tracker.find(portrait(), [_track(box)])[1].iou(box) > 0.95


def test_an_absent_or_distant_face_is_not_found() -> None:
    gray, track = portrait(), _track()
    tracker = _tracker(gray, track)
    wall = np.full_like(gray, 120)
    noise = np.random.default_rng(1).integers(0, 256, gray.shape).astype(np.uint8)
    upside_down = np.ascontiguousarray(gray[::-1])
    for other in (wall, noise, upside_down, _moved(gray, round(0.8 * track.box.width), 0)):
        assert tracker.find(other, [track]) == {}


@pytest.mark.parametrize("size", [(1, 1), (23, 40), (480, 8)])
def test_nothing_is_found_in_a_small_image_or_outside_the_image(size: tuple[int, int]) -> None:
    tracker = _tracker(portrait(), _track())
    for box in (FACE_IN_PORTRAIT, Box(-500, 0, 90, 90), Box(0, 9999, 90, 90), Box(0, 0, 1, 1), Box(0, 0, 0, 0)):
        assert tracker.find(np.zeros(size, np.uint8), [_track(box)]) == {}
    # A face that is cut off by the edge has no template.
    cut = _track(Box(-40, 20, 100, 100))
    assert _tracker(portrait(), cut).find(portrait(), [cut]) == {}


def test_only_confirmed_faces_are_followed_and_ended_tracks_are_forgotten() -> None:
    gray, track = portrait(), _track()
    tracker = _tracker(gray, track)
    assert tracker.find(gray, [replace(track, confirmed=False)]) == {}
    assert set(tracker.find(gray, [track])) == {1}
    tracker.update(gray, [])
    assert tracker.find(gray, [track]) == {}


def test_the_template_is_that_of_the_last_detection() -> None:
    gray, track = portrait(), _track()
    tracker = _tracker(gray, track)
    blank = np.full_like(gray, 90)
    tracker.update(blank, [replace(track, found=False)])
    assert set(tracker.find(gray, [track])) == {1}
    other = np.ascontiguousarray(gray[::-1])
    tracker.update(other, [track])
    assert tracker.find(gray, [track]) == {}
    assert set(tracker.find(other, [track])) == {1}


def test_overlapping_faces_are_left_to_the_detector() -> None:
    gray = portrait()
    near = replace(FACE_IN_PORTRAIT, x=FACE_IN_PORTRAIT.x + FACE_IN_PORTRAIT.width // 4)
    tracks = [_track(), _track(near, track_id=2)]
    tracker = _tracker(gray, *tracks)
    assert tracker.find(gray, tracks) == {}
    assert set(tracker.find(gray, tracks[:1])) == {1}
