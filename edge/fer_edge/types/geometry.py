"""Rectangles in pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle in pixels; ``x``, ``y`` is its top left corner. It may lie partly outside a frame.

    >>> box = Box(x=10, y=20, width=40, height=40)
    >>> box.centre, box.area
    ((30.0, 40.0), 1600)
    >>> box.grown(1.5)
    Box(x=0, y=10, width=60, height=60)
    >>> round(box.iou(Box(30, 20, 40, 40)), 3)
    0.333
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        """Pixels covered; 0 for an empty box."""
        return max(0, self.width) * max(0, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        """Centre point (x, y) in pixels."""
        return self.x + self.width / 2, self.y + self.height / 2

    def intersection(self, other: Box) -> int:
        """Return the number of pixels that both boxes cover; 0 if either is empty."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(0, width) * max(0, height)

    def iou(self, other: Box) -> float:
        """Return the intersection over union (IoU), 0..1; 0 if either box is empty."""
        intersection = self.intersection(other)
        return intersection / (self.area + other.area - intersection) if intersection else 0.0

    def grown(self, factor: float) -> Box:
        """Return the box scaled about its centre by ``factor``, rounded to whole pixels."""
        centre_x, centre_y = self.centre
        width, height = round(self.width * factor), round(self.height * factor)
        return Box(round(centre_x - width / 2), round(centre_y - height / 2), width, height)

    def clipped(self, width: int, height: int) -> Box:
        """Return the part of the box inside a frame of ``width`` x ``height`` pixels; empty if they do not overlap."""
        left, top = min(max(self.x, 0), width), min(max(self.y, 0), height)
        right = min(max(self.x + self.width, left), width)
        bottom = min(max(self.y + self.height, top), height)
        return Box(left, top, right - left, bottom - top)

    def as_list(self) -> list[int]:
        """Return ``[x, y, width, height]``, the form used in traces and JSON."""
        return [self.x, self.y, self.width, self.height]
