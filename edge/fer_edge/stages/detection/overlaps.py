"""Non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterable

from fer_edge.types import Box, Face


def suppress_overlaps(faces: Iterable[Face], limit: float = 0.4) -> list[Face]:
    """``faces`` by falling score, without those whose smaller box is covered by more than ``limit`` by a surer one.

    The share of the smaller box, not IoU, since a cascade also answers with a small box inside the face.
    """
    kept: list[Face] = []
    # Box coordinates break ties: the cascade's threads deliver equal scores in any order.
    for face in sorted(faces, key=lambda face: (-face.score, face.box.as_list())):
        if all(_covered(face.box, other.box) <= limit for other in kept):
            kept.append(face)
    return kept


def _covered(box: Box, other: Box) -> float:
    width = min(box.x + box.width, other.x + other.width) - max(box.x, other.x)
    height = min(box.y + box.height, other.y + other.height) - max(box.y, other.y)
    smaller = min(box.area, other.area)
    return max(0, width) * max(0, height) / smaller if smaller else 0.0
