"""Frames, where they changed, and where to search them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_edge.types.arrays import Float64Array, UInt8Array, check_colour, check_gray
from fer_edge.types.geometry import Box


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a source: grey, which is processed, and in colour while it is recorded or watched.

    Raises InputError if ``gray`` is not a 2-D uint8 array, or ``bgr`` is not a colour image of the same size.

    Attributes:
        source: Name of the source.
        index: Number of the frame in its source.
        captured_at: Seconds of the source's clock: the monotonic clock for a live source, media time for a file.
        gray: Pixels, uint8 [H, W].
        glass_at: Best estimate of when light reached the sensor, in seconds of the monotonic clock. None for a file
            that is not played in real time.
        bgr: The same image in colour, uint8 [H, W, 3], for recordings and previews. None if the source has no colour,
            or its ``keep_colour`` is false.

    >>> import numpy as np
    >>> frame = Frame("door", index=0, captured_at=0.0, gray=np.zeros((480, 640), np.uint8))
    >>> frame.width, frame.height
    (640, 480)
    """

    source: str
    index: int
    captured_at: float
    gray: UInt8Array
    glass_at: float | None = None
    bgr: UInt8Array | None = None

    def __post_init__(self) -> None:
        check_gray(self.gray)
        if self.bgr is not None:
            check_colour(self.bgr, self.gray)

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.gray.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.gray.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class SceneMotion:
    """When each part of the image last changed, on a grid of cells that covers the frame.

    A change is unexplained if it lies outside the areas of the known faces. The arrays are reused for the next frame:
    copy what must outlive it.

    Attributes:
        frame_size: (width, height) in pixels.
        changed_at: Time of the last change, float64 [rows, columns], seconds of the source's clock.
        unexplained_at: Time of the last unexplained change, same shape and clock.
    """

    frame_size: tuple[int, int]
    changed_at: Float64Array
    unexplained_at: Float64Array

    def last_change(self, box: Box) -> float:
        """Return when anything in ``box`` last changed; minus infinity if the box is outside the frame."""
        return float(self.changed_at[self.cells(box)].max(initial=-np.inf))

    def last_unexplained(self, box: Box) -> float:
        """Return when the last unexplained change in ``box`` was; minus infinity if the box is outside the frame."""
        return float(self.unexplained_at[self.cells(box)].max(initial=-np.inf))

    def newest_unexplained(self) -> float:
        """Return when the last unexplained change anywhere in the frame was."""
        return float(self.unexplained_at.max(initial=-np.inf))

    def cells(self, box: Box) -> tuple[slice, slice]:
        """Return the rows and columns of the cells that ``box`` touches."""
        (width, height), (rows, columns) = self.frame_size, self.changed_at.shape
        inside = box.clipped(width, height)
        if inside.area == 0:
            return slice(0), slice(0)
        top, left = inside.y * rows // height, inside.x * columns // width
        bottom = -(-(inside.y + inside.height) * rows // height)
        right = -(-(inside.x + inside.width) * columns // width)
        return slice(top, bottom), slice(left, right)


@dataclass(frozen=True, slots=True)
class Search:
    """Where and how a detector searches a frame.

    Attributes:
        region: Area to search, in pixels of the frame; may extend beyond it.
        scale: Scale at which the region is searched, at most 1. A smaller scale is faster and misses small faces.
        min_face: Width of the smallest face to find, in pixels of the frame. None: the detector's settings apply.
        max_face: Width of the largest face to find, in pixels of the frame. None: no limit.
        track_id: Track that the search is for; None for a tile of the whole frame.
        known: The track is confirmed, so weaker evidence is sufficient.
        hidden: Boxes to exclude, because other searches cover them.

    >>> import numpy as np
    >>> Search.whole(np.zeros((480, 640), np.uint8), scale=0.5).megapixels
    0.0768
    """

    region: Box
    scale: float = 1.0
    min_face: float | None = None
    max_face: float | None = None
    track_id: int | None = None
    known: bool = False
    hidden: tuple[Box, ...] = ()

    @classmethod
    def whole(cls, gray: UInt8Array, scale: float = 1.0) -> Search:
        """Return the search of all of ``gray``, uint8 [H, W]."""
        check_gray(gray)
        height, width = gray.shape
        return cls(Box(0, 0, width, height), scale)

    @property
    def megapixels(self) -> float:
        """Pixels to search, in millions."""
        return self.region.area * self.scale**2 / 1e6
