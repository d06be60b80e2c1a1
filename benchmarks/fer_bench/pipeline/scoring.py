"""Score the faces that a candidate reports: found, false, and with the right label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fer_bench.pipeline.processes import SeenFace
from fer_bench.pipeline.scenes import TrueFace
from fer_edge.types import UNCERTAIN, Box

MIN_IOU = 0.4
"""Intersection over union from which a box is on a face.

Less than the usual 0.5, because the boxes of FER2013 are not annotated: its crops contain more or less of the head,
and a cascade's box that is 1.5 times as wide, with the same center, has 0.44.
"""


@dataclass(frozen=True, slots=True)
class FrameScore:
    """Counts of one frame; ``right`` counts correct labels, ``uncertain`` faces without a label."""

    shown: int = 0
    matched: int = 0
    false_boxes: int = 0
    right: int = 0
    uncertain: int = 0

    def __add__(self, other: FrameScore) -> FrameScore:
        return FrameScore(
            self.shown + other.shown,
            self.matched + other.matched,
            self.false_boxes + other.false_boxes,
            self.right + other.right,
            self.uncertain + other.uncertain,
        )


def score_frame(truth: Sequence[TrueFace], seen: Sequence[SeenFace]) -> FrameScore:
    """Match each face with at most one box, best overlap first; every other box is false."""
    partner = match_boxes([face.box for face in truth], [reported.box for reported in seen], MIN_IOU)
    labels = [(truth[i].label, seen[j].label) for i, j in partner.items()]
    return FrameScore(
        shown=len(truth),
        matched=len(partner),
        false_boxes=len(seen) - len(partner),
        right=sum(true == reported for true, reported in labels),
        uncertain=sum(reported == UNCERTAIN for _, reported in labels),
    )


def match_boxes(truth: Sequence[Box], reported: Sequence[Box], min_iou: float) -> dict[int, int]:
    """Return for each true box that was found, by index, the index of its reported box; best overlap first."""
    pairs = sorted(
        ((face.iou(box), i, j) for i, face in enumerate(truth) for j, box in enumerate(reported)),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    partner: dict[int, int] = {}
    for overlap, i, j in pairs:
        if overlap >= min_iou and i not in partner and j not in partner.values():
            partner[i] = j
    return partner
