"""Check a camera's pictures: a frozen picture or a changed size is a lost camera, darkness is waited out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fer_edge.errors import SourceLostError
from fer_edge.protocols import FrameSource, NoFrame
from fer_edge.settings.service import RecoverySettings
from fer_edge.sources.base import SourceWrapper
from fer_edge.sources.darkness import is_dark
from fer_edge.types import Frame, UInt8Array

_ROWS = 8
"""Every n-th row is compared with the previous picture: sensor noise appears in every row."""
_DARK_EVERY_S = 1.0
"""Seconds between two pictures that are passed on while it is dark: enough to show that the camera works."""
_STUCK_AFTER_S = 3600.0
"""A camera that hangs in the dark looks like one without noise. It is reopened after this time, without a report."""


class StuckInTheDarkError(SourceLostError):
    """The same dark picture for very long: not a loss, but a reason to reopen the camera."""


class PictureHealth:
    """Checks the pictures of one camera since it was opened; takes a few microseconds each.

    ``dark`` is the state from before the camera was reopened.
    """

    def __init__(self, settings: RecoverySettings, *, dark: bool = False) -> None:
        self._settings = settings
        self._size: tuple[int, int] | None = None
        self._last: UInt8Array | None = None
        self._changed_at = 0.0
        self._lit_at = 0.0
        self.dark = dark
        """Whether the pictures have been dark for ``dark_after_s``."""
        self.same_for_s = 0.0
        """Seconds for which the picture has been identical, bit for bit."""
        self.proven = False
        """Whether the camera is known to work: two pictures differed, or it has been dark for ``dark_after_s``."""

    def problem(self, gray: UInt8Array, now: float) -> str | None:
        """Update the state with ``gray``, uint8 [H, W], taken at ``now`` (seconds); return what is wrong, or None."""
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


class WatchedSource(SourceWrapper):
    """A camera or stream whose pictures are checked.

    While it is dark, one picture a second is passed on.

    Args:
        inner: The camera or stream; it is closed together with this source.
        settings: When a picture counts as frozen or dark.
        unproven: Hold pictures back until the camera is known to work, so that a camera that was lost because its
            picture was frozen does not count as back when it sends the same picture again.
        dark: Whether it was dark before the camera was reopened.
        on_picture: Called for every picture, including those held back.
        on_watched: Called with ``dark`` before the first picture that is passed on, and when it becomes dark or light.
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
        super().__init__(inner)
        self._health = PictureHealth(settings, dark=dark)
        self._waiting = unproven
        self._on_picture, self._on_watched = on_picture, on_watched
        self._reported: bool | None = None
        self._next_dark_at = -math.inf

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the inner source's answer, or NOT_YET for a picture that is held back.

        Raises:
            StuckInTheDarkError: if the camera should be reopened although no fault is known.
            SourceLostError: if something is wrong with the picture, or the stream ended.
        """
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
