"""Whether a camera's pictures are worth anything: frozen or of another size, it is lost; dark, it waits for light."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fer_edge.errors import SourceLostError
from fer_edge.protocols import ClosingSource, FrameSource, NoFrame
from fer_edge.settings.service import RecoverySettings
from fer_edge.sources.darkness import is_dark
from fer_edge.types import Frame, UInt8Array

_ROWS = 8
"""Every so many rows are compared with those of the picture before: a sensor's noise shows in any of them."""
_DARK_EVERY_S = 1.0
"""Seconds between two pictures that are passed on while it is dark: enough to show that the camera lives."""
_STUCK_AFTER_S = 3600.0
"""A camera that hangs in the dark looks like one without noise: then it is opened again this often, in silence."""


class StuckInTheDarkError(SourceLostError):
    """The same dark picture for very long: no loss, but a reason to open the camera again."""


class PictureHealth:
    """Checks the pictures of one camera since it was opened; some microseconds each.

    ``dark`` is what is known of it from before it was opened again.
    """

    def __init__(self, settings: RecoverySettings, *, dark: bool = False) -> None:
        self._settings = settings
        self._size: tuple[int, int] | None = None
        self._last: UInt8Array | None = None
        self._changed_at = 0.0
        self._lit_at = 0.0
        self.dark = dark
        """Whether its pictures have been dark for ``dark_after_s``."""
        self.same_for_s = 0.0
        """Seconds for which its picture has been the same, bit for bit."""
        self.proven = False
        """Whether it was seen to live: by two pictures that differ, or for as long as it takes to be called dark."""

    def problem(self, gray: UInt8Array, now: float) -> str | None:
        """What is wrong with the picture uint8 [H, W] taken at ``now`` (seconds), or None. Updates what is public."""
        size = (gray.shape[1], gray.shape[0])
        if self._size is None:
            self._size, self._changed_at = size, now
            self._lit_at = -math.inf if self.dark else now
        if size != self._size:
            return f"its pictures changed from {self._size[0]}x{self._size[1]} to {size[0]}x{size[1]}"
        rows = gray[::_ROWS]
        if self._last is None or not np.array_equal(rows, self._last):
            self.proven = self.proven or self._last is not None
            self._last, self._changed_at = rows.copy(), now
        self.same_for_s = now - self._changed_at
        dim = self._settings.dark_after_s > 0 and is_dark(gray)
        if not dim:
            self._lit_at = now
        self.dark = dim and now - self._lit_at >= self._settings.dark_after_s
        self.proven = self.proven or self.dark
        if not dim and 0 < self._settings.frozen_after_s <= self.same_for_s:
            return f"its picture has been the same for {self.same_for_s:.0f} s"
        return None


class WatchedSource(ClosingSource):
    """``inner``, a camera or stream, with its pictures checked: SourceLostError says what is wrong, or that it ended.

    ``unproven`` holds back what comes until the camera has proven to live, so that one that was lost for being frozen
    is not back with the next picture of that kind. While it is dark, one picture a second is given; ``dark`` says that
    it was so before the camera was opened again. ``on_picture()`` is called for every picture, also for one that is
    held back; ``on_watched(dark)`` before the first picture that is given, and when it gets dark, or light again.
    ``read`` raises StuckInTheDarkError where the camera should be opened again although nothing is known to be wrong.
    """

    def __init__(
        self,
        inner: FrameSource,
        settings: RecoverySettings,
        *,
        unproven: bool = False,
        dark: bool = False,
        on_picture: Callable[[], None] = lambda: None,
        on_watched: Callable[[bool], None] = lambda dark: None,
    ) -> None:
        self.name, self.fps = inner.name, inner.fps
        self.live, self.still = inner.live, inner.still
        self.dropped = inner.dropped
        self._inner = inner
        self._health = PictureHealth(settings, dark=dark)
        self._waiting = unproven
        self._on_picture, self._on_watched = on_picture, on_watched
        self._reported: bool | None = None
        self._next_dark_at = -math.inf

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The inner source's answer; NOT_YET for a picture that is held back. Raises SourceLostError."""
        frame = self._inner.read(timeout_s)
        self.dropped = self._inner.dropped
        if frame is NoFrame.ENDED:
            raise SourceLostError(f"{self.name}: the stream ended")
        if not isinstance(frame, Frame):
            return frame
        self._on_picture()
        health, now = self._health, frame.captured_at
        problem = health.problem(frame.gray, now)
        if problem is not None:
            raise SourceLostError(f"{self.name}: {problem}")
        if self._waiting and not health.proven:
            return NoFrame.NOT_YET
        self._waiting = False
        if health.dark is not self._reported:
            self._reported = health.dark
            self._on_watched(health.dark)
        if not health.dark:
            return frame
        if health.same_for_s > _STUCK_AFTER_S:
            raise StuckInTheDarkError(f"{self.name}: the same dark picture for {health.same_for_s:.0f} s")
        if now < self._next_dark_at:
            return NoFrame.NOT_YET
        self._next_dark_at = now + _DARK_EVERY_S
        return frame

    def close(self) -> None:
        """Close the inner source."""
        self._inner.close()
