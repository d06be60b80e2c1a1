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
    width = min(box.x + box.width, other.x + other.width) - max(box.x, other.x)
    height = min(box.y + box.height, other.y + other.height) - max(box.y, other.y)
    smaller = min(box.area, other.area)
    return max(0, width) * max(0, height) / smaller if smaller else 0.0
