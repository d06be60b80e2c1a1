"""Whether a camera's pictures are worth anything: black, frozen or of another size, it counts as lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fer_edge.errors import SourceLostError
from fer_edge.service_config import RecoverySettings
from fer_edge.sources.base import ClosingSource, FrameSource, NoFrame
from fer_edge.types import Frame, UInt8Array

_ROWS = 8
"""Every so many rows are compared with those of the picture before: a sensor's noise shows in any of them."""
_SAMPLES = 16
"""Every so many pixels of those are looked at for being black."""
_BLACK_MEAN, _BLACK_SPREAD = 24.0, 4.0
"""Grey levels: mean and standard deviation below which a picture is black. Limited-range video has its black at 16."""


class PictureHealth:
    """Looks at the pictures of one camera since it was opened; a few microseconds each."""

    def __init__(self, settings: RecoverySettings) -> None:
        self._settings = settings
        self._size: tuple[int, int] | None = None
        self._last: UInt8Array | None = None
        self._changed_at = self._bright_at = 0.0
        self.proven = False
        """Whether a picture was seen to be neither black nor the same as the one before."""

    def problem(self, gray: UInt8Array, now: float) -> str | None:
        """What is wrong with the picture uint8 [H, W] taken at ``now`` (seconds), or None."""
        size = (gray.shape[1], gray.shape[0])
        if self._size is None:
            self._size, self._changed_at, self._bright_at = size, now, now
        if size != self._size:
            return f"its pictures changed from {self._size[0]}x{self._size[1]} to {size[0]}x{size[1]}"
        rows = gray[::_ROWS]
        black = self._settings.black_after_s > 0 and _is_black(rows[:, ::_SAMPLES])
        same = self._settings.frozen_after_s > 0 and self._last is not None and np.array_equal(rows, self._last)
        if not same:
            first = self._last is None
            self._last, self._changed_at = rows.copy(), now
            self.proven = self.proven or not (black or first)
        if not black:
            self._bright_at = now
        if black and now - self._bright_at >= self._settings.black_after_s:
            return f"its pictures have been black for {now - self._bright_at:.0f} s"
        if same and now - self._changed_at >= self._settings.frozen_after_s:
            return f"its picture has been the same for {now - self._changed_at:.0f} s"
        return None


class WatchedSource(ClosingSource):
    """``inner``, a camera or stream, with its pictures looked at: SourceLostError tells what is wrong, or its end.

    ``unproven`` holds back what comes until one picture has proven good: so a camera that was lost for black pictures
    is not back with the next black one. ``on_picture`` is told of every picture, also of one that is held back, and
    ``on_proven`` once, before the first one that is given.
    """

    def __init__(
        self,
        inner: FrameSource,
        settings: RecoverySettings,
        *,
        unproven: bool = False,
        on_picture: Callable[[], None] = lambda: None,
        on_proven: Callable[[], None] | None = None,
    ) -> None:
        self.name, self.fps = inner.name, inner.fps
        self.live, self.still = inner.live, inner.still
        self.dropped = inner.dropped
        self._inner = inner
        self._health = PictureHealth(settings)
        self._waiting = unproven
        self._on_picture, self._on_proven = on_picture, on_proven

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The inner source's answer; NOT_YET in place of pictures that prove nothing. Raises SourceLostError."""
        frame = self._inner.read(timeout_s)
        self.dropped = self._inner.dropped
        if frame is NoFrame.ENDED:
            raise SourceLostError(f"{self.name}: the stream ended")
        if not isinstance(frame, Frame):
            return frame
        self._on_picture()
        problem = self._health.problem(frame.gray, frame.captured_at)
        if problem is not None:
            raise SourceLostError(f"{self.name}: {problem}")
        if self._waiting and not self._health.proven:
            return NoFrame.NOT_YET
        self._waiting = False
        if self._on_proven is not None:
            self._on_proven()
            self._on_proven = None
        return frame

    def close(self) -> None:
        """Close the inner source."""
        self._inner.close()


def _is_black(samples: UInt8Array) -> bool:
    mean, spread = float(samples.mean()), float(samples.std())
    return mean < _BLACK_MEAN and spread < _BLACK_SPREAD
