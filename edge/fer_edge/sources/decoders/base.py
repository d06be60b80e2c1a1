"""What every decoder offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fer_edge.types import UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        gray: uint8 [H, W].
        bgr: The same in colour, uint8 [H, W, 3], if it was asked for and the picture has colour.
        at_s: Timestamp in the container, seconds from its start. NaN or 0 if it has none.
    """

    gray: UInt8Array
    bgr: UInt8Array | None
    at_s: float


class Decoder(Protocol):
    """An open film, stream or camera.

    Attributes:
        size: Width and height in pixels that the container states; 0 if it does not.
        fps: Frames per second that the container states; implausible if it does not.
        frame_count: Number of frames that the container states; not above 0 if it does not.
        codec: Name of the codec, such as ``mjpeg``.
    """

    size: tuple[int, int]
    fps: float
    frame_count: float
    codec: str

    def read(self, *, keep_colour: bool) -> Picture | None:
        """Return the next picture, None if there is none: after the last, or because of a fault."""
        ...

    def close(self) -> None:
        """Close it. No call of ``read`` may be under way."""
        ...
