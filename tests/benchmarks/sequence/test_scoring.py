"""Scores of moving faces: examples computed by hand, and properties."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fer_bench.sequence.cast import Segment
from fer_bench.sequence.scenes import TrueFace, visible_share
from fer_bench.sequence.scoring import (
    MAX_GAP_FRAMES,
    SETTLED_FRAMES,
    Acquired,
    Sighting,
    Surplus,
    acquired,
    id_switches,
    judge_changes,
    reported_changes,
    sightings,
    true_changes,
    visits,
)
from fer_bench.sequence.systems import ReportedFace
from fer_edge.types import UNCERTAIN, Box

BOX = Box(10, 10, 100, 100)
BOXES = st.builds(Box, *[st.integers(-60, 60)] * 2, *[st.integers(0, 60)] * 2)
LABELS = st.sampled_from(["happy", "sad", UNCERTAIN, None])
TOLD = st.lists(LABELS, min_size=1, max_size=60)


def visit_of(labels: list[str | None], start: int = 0) -> list[Sighting]:
    """Return a face that is always in sight, with the reported label of each frame (None: not found)."""
    return [
        Sighting(start + step, 0, 1.0, 7, None if label is None else ReportedFace(BOX, label, 1))
        for step, label in enumerate(labels)
    ]


def test_found_missed_and_false():
    faces = [TrueFace(0, BOX, 1.0, 7, "happy"), TrueFace(1, Box(300, 10, 100, 100), 0.6, 8, "sad")]
    on_first, nowhere = ReportedFace(Box(14, 8, 100, 100), "happy", 3), ReportedFace(Box(200, 200, 50, 50), "sad", 4)
    seen, surplus = sightings(5, faces, [nowhere, on_first])
    assert [(sighting.number, sighting.row, sighting.reported) for sighting in seen] == [(0, 7, on_first), (1, 8, None)]
    assert surplus == Surplus(false=1, ghosts=1)
    # A box with a small overlap with the face is false, but not a ghost; so is a second box on a face.
    assert sightings(5, faces[:1], [ReportedFace(Box(60, 10, 100, 100), "happy")])[1] == Surplus(false=1)
    assert sightings(5, faces[:1], [on_first, ReportedFace(BOX, "happy")])[1] == Surplus(false=1)
    # A box that covers only a corner of the face is a ghost: 15 x 15 of 2 x 10,000 pixels are an overlap of 0.01.
    assert sightings(5, faces[:1], [ReportedFace(Box(95, 95, 100, 100), "happy")])[1] == Surplus(false=1, ghosts=1)


def test_a_frame_that_was_not_shown_is_neither_missed_nor_false():
    seen, surplus = sightings(5, [TrueFace(0, BOX, 1.0, 7, "happy")], None)
    assert ([sighting.looked for sighting in seen], surplus) == ([False], Surplus())


def test_a_face_out_of_sight_can_neither_be_found_nor_missed():
    assert sightings(5, [TrueFace(0, Box(-500, 0, 100, 100), 0.0, 7, "happy")], []) == ([], Surplus())


def test_a_visit_goes_on_when_the_face_was_hidden_for_a_moment():
    shares = [1.0, 0.6, 0.4, 0.5, 1.0]
    seen = [Sighting(index, 0, share, 7, None) for index, share in enumerate(shares)]
    assert [[sighting.index for sighting in visit] for visit in visits(seen)] == [[0, 1, 3, 4]]
    later = [Sighting(index, 0, 1.0, 7, None) for index in (4 + MAX_GAP_FRAMES, 5 + 2 * MAX_GAP_FRAMES)]
    assert [len(visit) for visit in visits([*seen, *later])] == [5, 1]


def test_ids_switch_when_the_face_gets_another_one_and_not_when_it_is_missed():
    ids = [1, None, 1, 2, 2, None, 1]
    visit = [
        Sighting(i, 0, 1.0, 7, None if one is None else ReportedFace(BOX, "sad", one)) for i, one in enumerate(ids)
    ]
    assert id_switches(visit) == 2


def everyone(row: int) -> bool:
    return True


def test_the_time_to_find_a_face_begins_when_it_is_wholly_in_the_picture():
    visit = [Sighting(i, 0, share, 7, None) for i, share in enumerate([0.5, 0.8, 0.99, 1.0])]
    assert acquired(visit, everyone) == Acquired(None)
    found = [*visit, Sighting(4, 0, 1.0, 7, ReportedFace(BOX, "sad", 1))]
    assert acquired(found, everyone) == Acquired(2)
    early = [Sighting(0, 0, 0.8, 7, ReportedFace(BOX, "sad", 1)), *visit[1:]]
    assert acquired(early, everyone) == Acquired(0)
    assert acquired(visit[:2], everyone) is None


def test_the_time_to_find_a_face_begins_with_an_image_that_can_be_found():
    visit = [Sighting(i, 0, 1.0, row, None) for i, row in enumerate([7, 7, 8, 7])]
    found = [*visit, Sighting(4, 0, 1.0, 7, ReportedFace(BOX, "sad", 1))]
    assert acquired(found, lambda row: row == 8) == Acquired(2)
    assert acquired(found, lambda row: row == 9) is None


HAPPY_SAD = (Segment(0, 20, "happy", (1,)), Segment(20, 60, "sad", (2,)))


def judged(labels: list[str | None], segments=HAPPY_SAD, names=("happy", "sad")) -> tuple[int, tuple[int, ...], int]:
    """Return the true changes, the delays of the reported ones, and the false ones."""
    found = judge_changes(visit_of(labels), segments, names)
    return found.shown, found.delays, found.false


def test_a_change_is_reported_by_the_first_telling_of_the_new_label():
    assert judged(["happy"] * 24 + [None, UNCERTAIN] + ["sad"] * 34) == (1, (6,), 0)
    # With a wrong label in between, which is a false change; the true one is late.
    assert judged(["happy"] * 22 + ["fear"] * 3 + ["sad"] * 35) == (1, (5,), 1)
    assert judged(["happy"] * 60) == (1, (), 0)
    assert judged(["happy", "sad"] * 30) == (1, (1,), 58)


def test_a_label_told_too_early_or_in_the_wrong_segment_reports_nothing():
    assert judged(["happy"] * 10 + ["sad"] * 50) == (1, (), 1)
    third = Segment(60, 80, "fear", (3,))
    late = ["happy"] * 65 + ["sad"] * 15
    assert judged(late, (*HAPPY_SAD, third), ("happy", "sad", "fear")) == (1, (), 1)


def test_a_right_change_that_need_not_be_reported_is_not_false():
    # The last segment is too short to count.
    short = (*HAPPY_SAD, Segment(60, 70, "fear", (3,)))
    assert judged(["happy"] * 22 + ["sad"] * 40 + ["fear"] * 8, short, ("happy", "sad", "fear")) == (1, (2,), 0)
    # The correction of a mistake is a false change, because the face had not changed.
    assert judged(["fear"] * 5 + ["happy"] * 15 + ["sad"] * 40) == (1, (0,), 1)


def test_what_is_told_of_a_segment_without_a_name_is_not_judged():
    segments = (*HAPPY_SAD, Segment(60, 100, "fear", (3,)))
    reported = visit_of(["happy", "fear"] * 10 + ["sad"] * 80)
    found = judge_changes(reported, segments, (None, "sad", "fear"))
    # From an unknown label to sad need not be reported; from sad to fear is missed.
    assert (found.shown, found.delays, found.false, found.judged) == (1, (), 0, 80)


def test_frames_that_were_not_shown_lie_between_no_change():
    visit = [*visit_of(["happy"] * 3), Sighting(3, 0, 1.0, 7, None, looked=False), *visit_of(["sad"] * 3, start=4)]
    assert reported_changes(visit) == []
    assert reported_changes(visit_of(["happy", UNCERTAIN, None, "sad", "sad"])) == [(3, "sad")]


def test_a_true_change_needs_a_face_in_sight_before_and_after_and_two_names_that_differ():
    second = 2 * SETTLED_FRAMES
    segments = [Segment(0, 50, "happy", (1,)), Segment(50, 110, "sad", (2,)), Segment(110, 200, "happy", (3,))]
    labels = ["happy", "sad", "happy"]

    def counted(visit: list[Sighting], labels: list[str | None] = labels) -> list[tuple[int, int, str, bool]]:
        return [(one.at, one.until, one.to, one.counted) for one in true_changes(visit, segments, labels)]

    assert counted(visit_of([None] * 200)) == [(50, 110, "sad", True), (110, 200, "happy", True)]
    assert counted(visit_of([None] * 200), ["happy", "happy", None]) == []
    assert counted(visit_of([None] * 200), ["happy", None, "sad"]) == [(110, 200, "sad", False)]
    assert counted(visit_of([None] * 160, start=40)) == [(50, 110, "sad", False), (110, 200, "happy", True)]
    assert counted(visit_of([None] * 140, start=60)) == [(110, 200, "happy", True)]
    assert counted(visit_of([None] * (50 + second))) == [(50, 50 + second, "sad", True)]
    assert counted(visit_of([None] * (49 + second))) == [(50, 49 + second, "sad", False)]


SAYS = st.sampled_from(["happy", "sad", None])


@given(TOLD, st.lists(st.tuples(st.integers(1, 60), SAYS), min_size=1, max_size=4))
def test_every_change_told_is_true_or_false_or_not_judged(labels, lengths):
    ends = np.cumsum([length for length, _ in lengths]).tolist()
    ends[-1] = max(60, ends[-1])
    segments = [Segment(start, end, "fear", (1,)) for start, end in pairwise([0, *ends])]
    visit = visit_of(labels)
    labels = [labels for _, labels in lengths]
    found = judge_changes(visit, segments, labels)
    assert found.shown >= len(found.delays)
    assert 0 <= found.false <= len(reported_changes(visit)) - len(found.delays)
    assert 0 <= found.judged <= len(visit)
    if None not in labels:
        assert found.judged == len(visit)
        true = sum(
            any(change.at <= at < change.until and to == change.to for at, to in reported_changes(visit))
            for change in true_changes(visit, segments, labels)
        )
        assert true + found.false == len(reported_changes(visit))


@given(TOLD)
def test_told_changes_are_between_labels_and_in_order(labels):
    changes = reported_changes(visit_of(labels))
    assert [at for at, _ in changes] == sorted({at for at, _ in changes})
    assert all(labels[at] == to for at, to in changes)
    assert all(before != after for (_, before), (_, after) in pairwise(changes))


@given(BOXES, st.lists(BOXES, max_size=3))
def test_the_visible_share_is_that_of_the_pixels(box, before):
    picture = np.zeros((50, 40), dtype=np.int64)

    def fill(shape: Box, value: int) -> None:
        picture[max(0, shape.y) : max(0, shape.y + shape.height), max(0, shape.x) : max(0, shape.x + shape.width)] = (
            value
        )

    fill(box, 1)
    for other in before:
        fill(other, 2)
    share = visible_share(box, (40, 50), before)
    assert round(share * box.area) == np.count_nonzero(picture == 1)


@given(st.lists(st.tuples(BOXES, st.floats(0, 1)), max_size=4), st.lists(BOXES, max_size=4))
def test_every_box_is_on_one_face_or_false(true, reported):
    faces = [TrueFace(number, box, share, 0, "sad") for number, (box, share) in enumerate(true)]
    seen, surplus = sightings(0, faces, [ReportedFace(box, "sad") for box in reported])
    assert sum(sighting.reported is not None for sighting in seen) + surplus.false == len(reported)
    assert surplus.ghosts <= surplus.false
    assert all(sighting.reported.box.iou(faces[sighting.number].box) >= 0.5 for sighting in seen if sighting.reported)
