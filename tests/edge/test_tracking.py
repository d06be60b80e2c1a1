"""Tracks keep their faces through crossings, gaps and odd clocks, and never use an id again."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.config import TrackingSettings
from fer_edge.tracking import Tracker, associate, likeness
from fer_edge.types import Box, EmotionProbabilities, Face, Track

boxes = st.builds(Box, st.integers(0, 200), st.integers(0, 200), st.integers(10, 80), st.integers(10, 80))


def _values(*values: float) -> EmotionProbabilities:
    return EmotionProbabilities(np.array(values, dtype=np.float32))


EVEN = _values(0.5, 0.5)


def _step(tracker: Tracker, now: float, *found: Box, values: EmotionProbabilities = EVEN) -> tuple[Track, ...]:
    return tracker.update(now, [Face(box, 1.0) for box in found], [values] * len(found))


def _square(x: float, y: float, side: int = 60) -> Box:
    return Box(round(x - side / 2), round(y - side / 2), side, side)


@given(st.lists(boxes, max_size=4), st.lists(boxes, max_size=4))
def test_association_is_one_to_one_and_globally_best(tracks: list[Box], faces: list[Box]) -> None:
    def total(pairs: list[tuple[int, int]]) -> float:
        return sum(weight[pair] for pair in pairs)

    weight = {(i, j): likeness(a, b) for i, a in enumerate(tracks) for j, b in enumerate(faces)}
    pairs = associate(tracks, faces)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(weight[pair] > 0 for pair in pairs)
    few, many = sorted((range(len(tracks)), range(len(faces))), key=len)
    best = 0.0
    for chosen in itertools.permutations(many, len(few)):
        ordered = list(zip(few, chosen, strict=True))
        best = max(best, total(ordered if len(tracks) <= len(faces) else [(j, i) for i, j in ordered]))
    assert total(pairs) == pytest.approx(best)


def test_greedy_would_fail_here() -> None:
    # The best single pair (track 0, face 1) would leave track 1 with nothing.
    tracks = [Box(0, 0, 60, 60), Box(40, 0, 60, 60)]
    faces = [Box(-35, 0, 60, 60), Box(10, 0, 60, 60)]
    assert associate(tracks, faces) == [(0, 0), (1, 1)]


def test_far_faces_and_other_sizes_are_not_joined() -> None:
    assert associate([Box(0, 0, 50, 50)], [Box(200, 0, 50, 50)]) == []
    assert associate([Box(0, 0, 20, 20)], [Box(0, 0, 200, 200)]) == []
    # Just beside each other: no overlap, but near.
    assert associate([Box(0, 0, 50, 50)], [Box(35, 0, 50, 50)]) == [(0, 0)]


@pytest.mark.parametrize("fps", [10, 30])
def test_crossing_faces_keep_their_ids(fps: int) -> None:
    tracker = Tracker()
    for index in range(4 * fps):
        t = index / fps
        left_to_right, right_to_left = _square(100 + 100 * t, 200), _square(500 - 100 * t, 235)
        tracks = _step(tracker, t, left_to_right, right_to_left)
    by_id = {track.track_id: track.box for track in tracks}
    assert set(by_id) == {1, 2}
    assert by_id[1].iou(left_to_right) > 0.7 and by_id[2].iou(right_to_left) > 0.7


def test_a_moving_face_survives_missed_frames() -> None:
    tracker = Tracker()
    for index in range(60):
        t = index / 30
        found = [] if 30 <= index < 38 else [_square(100 + 150 * t, 200)]
        tracks = _step(tracker, t, *found)
    assert [track.track_id for track in tracks] == [1]
    assert tracks[0].box.iou(_square(100 + 150 * t, 200)) > 0.8


def test_confirmation_takes_hits_and_a_chance_hit_is_dropped_at_once() -> None:
    tracker = Tracker(TrackingSettings(confirm_hits=3))
    box = Box(50, 50, 60, 60)
    assert not _step(tracker, 0.0, box)[0].confirmed
    assert not _step(tracker, 0.1, box)[0].confirmed
    assert _step(tracker, 0.2, box)[0].confirmed
    assert len(_step(tracker, 0.3, box, Box(300, 300, 60, 60))) == 2
    assert [track.track_id for track in _step(tracker, 0.4, box)] == [1]


def test_a_track_ends_after_the_time_and_its_id_is_not_used_again() -> None:
    tracker = Tracker(TrackingSettings(left_after_s=1.0))
    box = Box(50, 50, 60, 60)
    for index in range(5):
        _step(tracker, index / 10, box)
    assert len(_step(tracker, 1.39)) == 1
    assert _step(tracker, 1.41) == ()
    assert _step(tracker, 1.5, box)[0].track_id == 2
    tracker.clear()
    assert _step(tracker, 1.6, box)[0].track_id == 3


def test_low_frame_rates_keep_a_track() -> None:
    tracker = Tracker(TrackingSettings(left_after_s=1.0))
    for index in range(6):
        tracks = _step(tracker, 5.0 * index, Box(50 + index, 50, 60, 60))
    assert [(track.track_id, track.confirmed) for track in tracks] == [(1, True)]


@pytest.mark.parametrize("fps", [5, 15, 60])
def test_smoothing_has_its_time_constant_at_any_frame_rate(fps: int) -> None:
    tracker = Tracker(TrackingSettings(smoothing_s=0.5))
    box = Box(50, 50, 60, 60)
    for index in range(-5 * fps, 0):
        _step(tracker, index / fps, box, values=_values(1, 0))
    for index in range(math.ceil(0.5 * fps)):
        tracks = _step(tracker, index / fps, box, values=_values(0, 1))
    # A step response reaches 1 - 1/e after the time constant, up to one frame more.
    reached = float(tracks[0].probabilities.values[1])
    assert 1 - math.exp(-1) - 0.05 <= reached <= 1 - math.exp(-1 - 1 / (0.5 * fps)) + 0.05


def test_no_smoothing_is_the_last_value() -> None:
    tracker = Tracker(TrackingSettings(smoothing_s=0.0))
    box = Box(50, 50, 60, 60)
    _step(tracker, 0.0, box, values=_values(1, 0))
    (track,) = _step(tracker, 0.1, box, values=_values(0.25, 0.75))
    np.testing.assert_array_equal(track.probabilities.values, np.float32([0.25, 0.75]))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0, 3) | st.sampled_from([0.0, 1e-9, 3600.0, 1e9]), st.lists(boxes, max_size=3)),
        max_size=25,
    ),
)
def test_anything_found_at_any_time_keeps_the_books_in_order(
    steps: list[tuple[float, list[Box]]],
) -> None:
    tracker, now = Tracker(), 0.0
    ever: set[int] = set()
    before: set[int] = set()
    generator = np.random.default_rng(0)
    for elapsed, found in steps:
        now += elapsed
        probabilities = [EmotionProbabilities(generator.dirichlet(np.ones(7)).astype(np.float32)) for _ in found]
        tracks = tracker.update(now, [Face(box, 1.0) for box in found], probabilities)
        ids = [track.track_id for track in tracks]
        assert len(set(ids)) == len(ids)
        new = set(ids) - before
        assert not new & ever and len(new) <= len(found)
        ever, before = ever | new, set(ids)
        for track in tracks:
            assert track.probabilities.values.sum() == pytest.approx(1.0, abs=1e-4)
            assert track.probabilities.values.min() >= 0
            assert track.box.area > 0 and track.last_seen <= now
            assert abs(track.box.x) < 1e5 and abs(track.box.y) < 1e5
