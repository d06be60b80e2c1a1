"""A face that was found is found again by its looks, where it is, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.stages.appearance import LEAST_CONTRAST, REACH, SIDE, AppearanceFollower, Look, correlate
from fer_edge.types import Box, Face, Track, UInt8Array
from support.scenes import FACE_IN_PORTRAIT, portrait

seeds = st.integers(0, 2**32 - 1)


def _track(box: Box = FACE_IN_PORTRAIT, seen: float = 0.0, track_id: int = 1, *, confirmed: bool = True) -> Track:
    return Track(track_id, box, seen, confirmed, face=Face(box, 1.0), last_looked=seen, found=True)


def _moved(gray: UInt8Array, x: int, y: int) -> UInt8Array:
    height, width = gray.shape
    moved = cv2.warpAffine(gray, np.float32([[1, 0, x], [0, 1, y]]), (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, dtype=np.uint8)


def _follower(gray: UInt8Array, *tracks: Track) -> AppearanceFollower:
    follower = AppearanceFollower()
    follower.learn(gray, tracks)
    return follower


def _noise(generator: np.random.Generator, *shape: int) -> UInt8Array:
    return generator.integers(0, 256, shape).astype(np.uint8)


@given(seed=seeds, side=st.integers(2, SIDE), more=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_the_correlation_is_pearsons_of_each_part(seed: int, side: int, more: tuple[int, int]) -> None:
    generator = np.random.default_rng(seed)
    picture, look = _noise(generator, side + more[0], side + more[1]), _noise(generator, side, side)
    likeness = correlate(picture, Look(look))
    assert likeness.shape == (more[0] + 1, more[1] + 1)
    for (row, column), found in np.ndenumerate(likeness):
        part = picture[row : row + side, column : column + side]
        if part.std() > LEAST_CONTRAST + 1e-6 and look.std() > LEAST_CONTRAST + 1e-6:
            assert found == pytest.approx(np.corrcoef(part.ravel(), look.ravel())[0, 1], abs=1e-5)
        elif min(part.std(), look.std()) < LEAST_CONTRAST - 1e-6:
            assert found == 0.0


@given(seed=seeds, level=st.sampled_from([0, 1, 128, 255]))
def test_the_same_is_1_its_negative_minus_1_and_what_is_flat_0(seed: int, level: int) -> None:
    look = _noise(np.random.default_rng(seed), SIDE, SIDE)
    flat = np.full((SIDE, SIDE), level, np.uint8)
    assert correlate(look, Look(look)) == pytest.approx(1.0)
    assert correlate(255 - look, Look(look)) == pytest.approx(-1.0)
    assert correlate(flat, Look(look)) == correlate(look, Look(flat)) == 0.0


@settings(max_examples=30)
@given(
    shift=st.tuples(st.floats(-REACH, REACH), st.floats(-REACH, REACH)),
    light=st.floats(0.6, 1.3),
    seed=seeds,
)
def test_a_face_that_moved_is_found_where_it_is_in_any_light_and_noise(
    shift: tuple[float, float], light: float, seed: int
) -> None:
    gray, track = portrait(), _track()
    follower = _follower(gray, track)
    dx, dy = (round(share * track.box.width) for share in shift)
    noise = np.random.default_rng(seed).normal(0, 4, gray.shape)
    now = np.clip(light * _moved(gray, dx, dy) + noise, 0, 255).astype(np.uint8)
    found = follower.find(now, [track])[1]
    true = replace(track.box, x=track.box.x + dx, y=track.box.y + dy)
    assert found.iou(true) > 0.8


@pytest.mark.parametrize("zoom", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_a_face_that_comes_nearer_or_goes_is_followed_in_its_size(zoom: float) -> None:
    gray, track = portrait(), _track()
    follower = _follower(gray, track)
    x, y = track.box.centre
    for step in np.linspace(1, zoom, 5):
        matrix = np.float32([[step, 0, x * (1 - step)], [0, step, y * (1 - step)]])
        picture = cv2.warpAffine(gray, matrix, gray.shape[::-1], borderMode=cv2.BORDER_REFLECT)
        track = replace(track, box=follower.find(np.asarray(picture, np.uint8), [track])[1])
    assert track.box.iou(FACE_IN_PORTRAIT.grown(zoom)) > 0.75


@pytest.mark.parametrize("shape", [(1.0, 1.2), (1.0, 1.35), (0.75, 1.0)])
def test_a_box_of_another_shape_is_followed_as_well(shape: tuple[float, float]) -> None:
    face = FACE_IN_PORTRAIT
    box = Box(face.x, face.y, round(face.width * shape[0]), round(face.height * shape[1]))
    follower = _follower(portrait(), _track(box))
    assert follower.find(portrait(), [_track(box)])[1].iou(box) > 0.95


def test_a_face_that_is_gone_or_somewhere_else_is_not_found() -> None:
    gray, track = portrait(), _track()
    follower = _follower(gray, track)
    wall = np.full_like(gray, 120)
    noise = np.random.default_rng(1).integers(0, 256, gray.shape).astype(np.uint8)
    upside_down = np.ascontiguousarray(gray[::-1])
    for other in (wall, noise, upside_down, _moved(gray, round(0.8 * track.box.width), 0)):
        assert follower.find(other, [track]) == {}


@pytest.mark.parametrize("size", [(1, 1), (23, 40), (480, 8)])
def test_a_small_picture_and_a_place_outside_of_it_hold_no_face(size: tuple[int, int]) -> None:
    follower = _follower(portrait(), _track())
    for box in (FACE_IN_PORTRAIT, Box(-500, 0, 90, 90), Box(0, 9999, 90, 90), Box(0, 0, 1, 1), Box(0, 0, 0, 0)):
        assert follower.find(np.zeros(size, np.uint8), [_track(box)]) == {}
    # A face that is cut off has no looks to keep.
    cut = _track(Box(-40, 20, 100, 100))
    assert _follower(portrait(), cut).find(portrait(), [cut]) == {}


def test_only_confirmed_faces_are_followed_and_those_gone_are_forgotten() -> None:
    gray, track = portrait(), _track()
    follower = _follower(gray, track)
    assert follower.find(gray, [replace(track, confirmed=False)]) == {}
    assert set(follower.find(gray, [track])) == {1}
    follower.learn(gray, [])
    assert follower.find(gray, [track]) == {}


def test_the_looks_are_those_of_the_last_finding() -> None:
    gray, track = portrait(), _track()
    follower = _follower(gray, track)
    blank = np.full_like(gray, 90)
    follower.learn(blank, [replace(track, found=False)])
    assert set(follower.find(gray, [track])) == {1}
    other = np.ascontiguousarray(gray[::-1])
    follower.learn(other, [track])
    assert follower.find(gray, [track]) == {}
    assert set(follower.find(other, [track])) == {1}


def test_faces_that_cross_are_left_to_the_cascade() -> None:
    gray = portrait()
    near = replace(FACE_IN_PORTRAIT, x=FACE_IN_PORTRAIT.x + FACE_IN_PORTRAIT.width // 4)
    tracks = [_track(), _track(near, track_id=2)]
    follower = _follower(gray, *tracks)
    assert follower.find(gray, tracks) == {}
    assert set(follower.find(gray, tracks[:1])) == {1}
