"""Matches of boxes and faces: examples computed by hand, properties, and sums over the rounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fer_bench.pipeline.processes import SeenFace
from fer_bench.pipeline.scenes import TrueFace
from fer_bench.pipeline.scoring import FrameScore, score_frame
from fer_edge.types import UNCERTAIN, Box

HAPPY = TrueFace(0, Box(10, 10, 100, 100), "happy")
SAD = TrueFace(1, Box(200, 10, 100, 100), "sad")
BOXES = st.builds(Box, *[st.integers(0, 60)] * 2, *[st.integers(1, 60)] * 2)
LABELS = st.sampled_from(["happy", "sad", UNCERTAIN])


def test_right_wrong_uncertain_and_missed():
    on_happy, on_sad = Box(12, 8, 98, 104), Box(195, 5, 110, 110)
    both = score_frame([HAPPY, SAD], [SeenFace(on_sad, "sad"), SeenFace(on_happy, "sad")])
    assert both == FrameScore(shown=2, matched=2, right=1)
    assert score_frame([HAPPY, SAD], [SeenFace(on_sad, UNCERTAIN)]) == FrameScore(shown=2, matched=1, uncertain=1)
    assert score_frame([HAPPY], []) == FrameScore(shown=1)
    assert score_frame([], [SeenFace(on_sad, "sad")]) == FrameScore(false_boxes=1)


def test_the_second_box_on_a_face_is_a_false_one_and_the_better_one_counts():
    loose, tight = SeenFace(Box(0, 0, 125, 125), "sad"), SeenFace(HAPPY.box, "happy")
    for seen in ([loose, tight], [tight, loose]):
        assert score_frame([HAPPY], seen) == FrameScore(shown=1, matched=1, false_boxes=1, right=1)


def test_a_box_half_as_wide_again_is_on_the_face_and_a_part_of_it_is_not():
    assert score_frame([HAPPY], [SeenFace(Box(-15, -15, 150, 150), "happy")]).matched == 1
    assert score_frame([HAPPY], [SeenFace(Box(10, 10, 60, 60), "happy")]).false_boxes == 1


def test_a_face_without_a_label_is_found_but_never_right():
    unknown = TrueFace(0, HAPPY.box, None)
    assert score_frame([unknown], [SeenFace(HAPPY.box, "happy")]) == FrameScore(shown=1, matched=1)


@given(st.lists(st.tuples(BOXES, LABELS), max_size=5), st.lists(st.tuples(BOXES, LABELS), max_size=5))
def test_counts_agree(true, reported):
    truth = [TrueFace(number, box, label) for number, (box, label) in enumerate(true)]
    score = score_frame(truth, [SeenFace(box, label) for box, label in reported])
    assert score.shown == len(true)
    assert score.matched + score.false_boxes == len(reported)
    assert score.matched <= min(len(true), len(reported))
    assert max(score.right, score.uncertain) <= score.matched
    assert score + FrameScore() == score
