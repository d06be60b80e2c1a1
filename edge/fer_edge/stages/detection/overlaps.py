"""Non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterable

from fer_edge.types import Box, Face


def suppress_overlaps(faces: Iterable[Face], limit: float = 0.4) -> list[Face]:
    """Return ``faces`` by descending score, without those that a face of higher score overlaps by more than ``limit``.

    The overlap is the intersection divided by the area of the smaller box. IoU would keep the small boxes that a
    cascade also finds inside a face.
    """
    kept: list[Face] = []
    # Box coordinates break ties, because the cascade's threads return equal scores in any order.
    for face in sorted(faces, key=lambda face: (-face.score, face.box.as_list())):
        if all(_covered(face.box, other.box) <= limit for other in kept):
            kept.append(face)
    return kept


def _covered(box: Box, other: Box) -> float:
    smaller = min(box.area, other.area)
    return box.intersection(other) / smaller if smaller else 0.0
