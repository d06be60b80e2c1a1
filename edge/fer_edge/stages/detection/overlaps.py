"""Non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterable

from fer_edge.types import Box, Face

_MAX_COVERED = 0.4
"""Share of the smaller of two boxes that the other may cover. IoU would keep the small boxes that a cascade also finds
inside a face."""


def suppress_overlaps(faces: Iterable[Face]) -> list[Face]:
    """Return ``faces`` by descending score, without those that a face of higher score overlaps too much."""
    kept: list[Face] = []
    # Box coordinates break ties, because the cascade's threads return equal scores in any order.
    for face in sorted(faces, key=lambda face: (-face.score, face.box.as_list())):
        if all(_covered(face.box, other.box) <= _MAX_COVERED for other in kept):
            kept.append(face)
    return kept


def _covered(box: Box, other: Box) -> float:
    smaller = min(box.area, other.area)
    return box.intersection(other) / smaller if smaller else 0.0
