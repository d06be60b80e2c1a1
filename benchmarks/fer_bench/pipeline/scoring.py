"""Which of the faces that were shown a candidate found, and what it called them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fer_bench.pipeline.processes import SeenFace
from fer_bench.pipeline.scenes import TrueFace
from fer_edge.types import UNCERTAIN, Box

LEAST_IOU = 0.4
"""Intersection over union from which a box is on a face.

Less than the usual 0.5, since nobody drew FER2013's boxes: its crops hold more or less of the head, and a cascade's box
that is 1.5 times as wide, around the same middle, has 0.44.
"""


@dataclass(frozen=True, slots=True)
class FrameScore:
    """Counts of one frame; ``right`` counts labels that are the face's own, ``uncertain`` faces without a label."""

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
    """Match each face with at most one box, the best overlap first; every other box is a false one."""
    partner = match_boxes([face.box for face in truth], [told.box for told in seen], LEAST_IOU)
    labels = [(truth[i].label, seen[j].label) for i, j in partner.items()]
    return FrameScore(
        shown=len(truth),
        matched=len(partner),
        false_boxes=len(seen) - len(partner),
        right=sum(true == told for true, told in labels),
        uncertain=sum(told == UNCERTAIN for _, told in labels),
    )


def match_boxes(truth: Sequence[Box], told: Sequence[Box], least_iou: float) -> dict[int, int]:
    """For each true box that is found, its number and that of the told box that lies on it: the best overlap first."""
    pairs = sorted(
        ((face.iou(box), i, j) for i, face in enumerate(truth) for j, box in enumerate(told)),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    partner: dict[int, int] = {}
    for overlap, i, j in pairs:
        if overlap >= least_iou and i not in partner and j not in partner.values():
            partner[i] = j
    return partner
