"""Tracks keep their faces through crossings, gaps and irregular clocks; ids are never reused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.settings.pipeline import TrackingSettings
from fer_edge.stages.tracking import Tracker, associate, association_score
from fer_edge.types import Box, Face, Track

boxes = st.builds(Box, st.integers(0, 200), st.integers(0, 200), st.integers(10, 80), st.integers(10, 80))


def _step(tracker: Tracker, now: float, *found: Box) -> tuple[Track, ...]:
    return tracker.update(now, [Face(box, 1.0) for box in found])


def _square(x: float, y: float, side: int = 60) -> Box:
    return Box(round(x - side / 2), round(y - side / 2), side, side)


@given(st.lists(boxes, max_size=4), st.lists(boxes, max_size=4))
def test_association_is_one_to_one_and_no_pair_that_is_left_out_beats_both_of_its_own(
    tracks: list[Box], faces: list[Box]
) -> None:
    pairs = associate(tracks, faces)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    of_row = {row: association_score(tracks[row], faces[column]) for row, column in pairs}
    of_column = {column: association_score(tracks[row], faces[column]) for row, column in pairs}
    assert all(score > 0 for score in of_row.values())
    for row, track in enumerate(tracks):
        for column, face in enumerate(faces):
            assert association_score(track, face) <= max(of_row.get(row, 0.0), of_column.get(column, 0.0))


def test_the_surest_pair_comes_first() -> None:
    tracks = [Box(0, 0, 60, 60), Box(100, 0, 60, 60)]
    faces = [Box(95, 0, 60, 60), Box(5, 0, 60, 60)]
    assert associate(tracks, faces) == [(0, 1), (1, 0)]


def test_distant_faces_and_other_sizes_are_not_associated() -> None:
    assert associate([Box(0, 0, 50, 50)], [Box(200, 0, 50, 50)]) == []
    assert associate([Box(0, 0, 20, 20)], [Box(0, 0, 200, 200)]) == []
    # Adjacent: little overlap, but a small distance.
    assert associate([Box(0, 0, 50, 50)], [Box(35, 0, 50, 50)]) == [(0, 0)]


def test_a_track_moves_with_its_template() -> None:
    tracker = Tracker()
    for index in range(3):
        _step(tracker, index / 15, _square(100, 100))
    for index in range(3, 10):
        now = index / 15
        tracker.relocate(now, {1: _square(100 + 6 * (index - 2), 100), 99: _square(0, 0)})
        (track,) = tracker.predicted(now)
        assert (track.matched, track.last_located, track.last_seen) == (True, now, 2 / 15)
        assert track.face is not None and track.face.box == track.box
    assert track.box.iou(_square(142, 100)) > 0.8
    # Without a match in the next frame, it continues at its velocity.
    tracker.relocate(now + 0.1, {})
    (later,) = tracker.predicted(now + 0.1)
    assert not later.matched and later.box.centre[0] > track.box.centre[0]


@pytest.mark.parametrize("away", [0.95, 1.1, 1.29])
def test_a_hidden_face_keeps_its_id_within_the_searched_region(away: float) -> None:
    tracker = Tracker()
    for index in range(5):
        _step(tracker, index / 15, _square(100, 100))
    for index in range(5, 12):
        _step(tracker, index / 15)
    tracks = _step(tracker, 12 / 15, _square(100 + 60 * away, 100))
    assert [track.track_id for track in tracks] == [1]
    # Without the gap, a face at that distance is a new one.
    other = Tracker()
    for index in range(5):
        _step(other, index / 15, _square(100, 100))
    assert len(_step(other, 5 / 15, _square(100 + 60 * away, 100))) == 2


def test_frames_with_the_same_time_are_distinct() -> None:
    tracker = Tracker()
    for _ in range(3):
        _step(tracker, 0.0, _square(100, 100))
    (track,) = _step(tracker, 0.0)
    assert track.confirmed and not track.found and track.face is None


def test_template_matches_alone_do_not_keep_a_track_alive() -> None:
    tracker = Tracker(TrackingSettings(max_missed_s=1.0))
    for index in range(3):
        _step(tracker, index / 10, _square(100, 100))
    lasted = 0.2
    for index in range(3, 40):
        now = index / 10
        tracker.relocate(now, {1: _square(100, 100)})
        tracks = _step(tracker, now)
        if not tracks:
            break
        assert tracks[0].lost and tracks[0].followed and tracks[0].face is not None
        lasted = now
    assert lasted == pytest.approx(0.3 + 1.0, abs=0.11)


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


def test_confirmation_takes_several_hits_and_a_false_detection_ends_at_once() -> None:
    tracker = Tracker(TrackingSettings(min_hits=3))
    box = Box(50, 50, 60, 60)
    assert not _step(tracker, 0.0, box)[0].confirmed
    assert not _step(tracker, 0.1, box)[0].confirmed
    assert _step(tracker, 0.2, box)[0].confirmed
    assert len(_step(tracker, 0.3, box, Box(300, 300, 60, 60))) == 2
    assert [track.track_id for track in _step(tracker, 0.4, box)] == [1]


def test_a_track_ends_after_left_after_s_and_its_id_is_not_reused() -> None:
    tracker = Tracker(TrackingSettings(max_missed_s=1.0))
    box = Box(50, 50, 60, 60)
    for index in range(5):
        _step(tracker, index / 10, box)
    assert len(_step(tracker, 0.5)) == 1
    assert len(_step(tracker, 1.49)) == 1
    assert _step(tracker, 1.51) == ()
    assert _step(tracker, 1.5, box)[0].track_id == 2
    tracker.clear()
    assert _step(tracker, 1.6, box)[0].track_id == 3


def test_low_frame_rates_keep_a_track() -> None:
    tracker = Tracker(TrackingSettings(max_missed_s=1.0))
    for index in range(6):
        tracks = _step(tracker, 5.0 * index, Box(50 + index, 50, 60, 60))
    assert [(track.track_id, track.confirmed) for track in tracks] == [(1, True)]


def test_a_track_has_the_detected_or_predicted_face() -> None:
    tracker = Tracker()
    left, right = Box(50, 50, 60, 60), Box(300, 50, 60, 60)
    assert [track.face for track in _step(tracker, 0.0, left, right)] == [Face(left, 1.0), Face(right, 1.0)]
    assert [track.face for track in _step(tracker, 0.1, right, left)] == [Face(left, 1.0), Face(right, 1.0)]
    moved = Box(310, 50, 60, 60)
    assert [track.face for track in _step(tracker, 0.2, moved)] == [None, Face(moved, 1.0)]
    lost, expected = tracker.predicted(0.3)
    assert lost.face is None
    assert expected.face == Face(expected.box, 1.0) and expected.box.x > 305


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0, 3) | st.sampled_from([0.0, 1e-9, 3600.0, 1e9]), st.lists(boxes, max_size=3)),
        max_size=25,
    ),
)
def test_any_detections_at_any_time_keep_tracks_consistent(
    steps: list[tuple[float, list[Box]]],
) -> None:
    tracker, now = Tracker(), 0.0
    ever: set[int] = set()
    before: set[int] = set()
    for elapsed, found in steps:
        now += elapsed
        tracks = tracker.update(now, [Face(box, 1.0) for box in found])
        ids = [track.track_id for track in tracks]
        assert len(set(ids)) == len(ids)
        new = set(ids) - before
        assert not new & ever and len(new) <= len(found)
        ever, before = ever | new, set(ids)
        for track in tracks:
            assert track.box.area > 0 and track.last_seen <= now
            assert abs(track.box.x) < 1e5 and abs(track.box.y) < 1e5


def test_a_track_that_was_not_searched_is_not_missed() -> None:
    tracker = Tracker(TrackingSettings(max_missed_s=1.0))
    for index in range(5):
        _step(tracker, index / 10, Box(50, 50, 60, 60), Box(300, 50, 60, 60))
    for index in range(5, 60):
        tracks = tracker.update(index / 10, [], searched_ids={2})
    assert [(track.track_id, track.lost, track.last_searched) for track in tracks] == [(1, False, 0.4)]
    # A single failed search after a long interval does not end the track: the next search is wider.
    assert [track.lost for track in tracker.update(6.0, [], searched_ids={1})] == [True]
    assert [track.track_id for track in tracker.update(6.9, [], searched_ids={1})] == [1]
    assert tracker.update(7.1, [], searched_ids={1}) == ()


@pytest.mark.parametrize("fps", [10, 15, 30])
@pytest.mark.parametrize("hidden_s", [0.3, 0.6])
def test_ids_survive_a_crossing_in_which_one_face_hides_the_other(fps: int, hidden_s: float) -> None:
    tracker = Tracker()
    seconds, speed, side = 4.0, 120, 60
    for index in range(round(seconds * fps)):
        t = index / fps
        front, back = _square(80 + speed * t, 200, side), _square(560 - speed * t, 210, side)
        # The detector returns one box for two faces that overlap, and none for a while before and after.
        apart = abs(t - seconds / 2) > hidden_s / 2
        tracks = _step(tracker, t, front, back) if apart else _step(tracker, t, front)
    by_id = {track.track_id: track.box for track in tracks}
    assert set(by_id) == {1, 2}
    assert by_id[1].iou(front) > 0.7 and by_id[2].iou(back) > 0.7


@pytest.mark.parametrize("hidden_s", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("speed", [0, 60, 120])
def test_a_briefly_hidden_face_keeps_its_id(hidden_s: float, speed: int) -> None:
    tracker = Tracker()
    for index in range(60):
        t = index / 15
        hidden = 2.0 <= t < 2.0 + hidden_s
        tracks = _step(tracker, t, *([] if hidden else [_square(80 + speed * t, 200)]))
    assert [track.track_id for track in tracks] == [1]


@given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=5), st.randoms())
def test_association_does_not_depend_on_the_order(pairs: list[tuple[Box, Box]], shuffle: random.Random) -> None:
    tracks, faces = [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    def total(some_faces: list[Box]) -> float:
        return sum(association_score(tracks[row], some_faces[column]) for row, column in associate(tracks, some_faces))

    before = total(faces)
    shuffle.shuffle(faces)
    assert total(faces) == pytest.approx(before)


@given(boxes, boxes)
def test_association_score_is_symmetric_and_maximal_for_the_same_box(a: Box, b: Box) -> None:
    assert association_score(a, b) == association_score(b, a)
    assert 0.0 <= association_score(a, b) <= association_score(a, a) == 2.0


def test_one_pixel_of_jitter_is_static_and_slow_motion_is_not() -> None:
    tracker = Tracker(TrackingSettings(min_hits=1))
    _step(tracker, 0.0, Box(100, 100, 60, 60))
    boxes = []
    for frame in range(1, 30):
        tracker.relocate(frame / 15, {1: Box(100 + frame % 2, 100, 60, 60)})
        boxes.append(tracker.predicted(frame / 15)[0].box)
    assert set(boxes) == {Box(100, 100, 60, 60)}
    for frame in range(30, 90):
        place = Box(100 + (frame - 30) // 3, 100, 60, 60)
        tracker.relocate(frame / 15, {1: place})
        assert abs(tracker.predicted(frame / 15)[0].box.x - place.x) <= 2


def test_two_almost_simultaneous_frames_give_no_velocity() -> None:
    tracker = Tracker(TrackingSettings(min_hits=1))
    _step(tracker, 0.0, Box(0, 0, 10, 18))
    (track,) = _step(tracker, 2.2e-308, Box(0, 0, 10, 10))
    assert abs(track.box.x) <= 1 and tracker.predicted(0.5)[0].box.x == track.box.x
