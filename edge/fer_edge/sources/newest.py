"""Read a source in its own thread and keep only the newest frame.

A slow pipeline therefore never blocks a camera, and no queue can grow: a newer frame replaces the one that is waiting.
Frames that come too late, because the computer is too slow or data waited in the network, are skipped. Both are counted
in ``dropped``, together with the damaged frames that the source itself dropped.
"""

from __future__ import annotations

import atexit
import threading
import time
from dataclasses import replace

from fer_edge.errors import SourceLostError
from fer_edge.protocols import FrameSource, NoFrame
from fer_edge.sources.base import SourceWrapper, as_source_error
from fer_edge.system.driver_threads import DriverThread
from fer_edge.types import Frame

_MAX_LATE_S = 0.5
"""Seconds by which a frame of a live source may be late, and two frames more."""
_MAX_SKIPPING_S = 1.0
"""Seconds for which late frames are skipped at a stretch. Then one is returned: the source may always be late. A paced
film that cannot be decoded in time is delayed from there on, as if it had been paused."""
_JOIN_S = 2.0
_PRODUCER_POLL_S = 0.2
_WAIT_OVER_S = 0.2
"""How much longer than its timeout a wait may take on a busy machine."""


class NewestFrameSource(SourceWrapper):
    """Reads ``inner`` in a thread and returns the newest frame.

    A live source is read from the start: otherwise frames buffered by its driver or the network would appear fresh.
    Frames replaced before the first ``read`` are not counted as dropped. A paced source is read from the first ``read``
    on, so that loading a model first drops nothing. Each frame gets its ``glass_at``: when the camera took it, or would
    have taken it.

    Args:
        inner: The source to read; it is closed together with this one.
        paced: Hold each frame back until its media time, like a camera.
        lost_after_s: Seconds without a frame after which ``read`` raises SourceLostError; None for no limit.

    >>> from fer_edge import open_source
    >>> with NewestFrameSource(open_source("demo"), paced=True) as source:
    ...     frame = source.read(timeout_s=5.0)
    >>> frame.glass_at is not None
    True
    """

    def __init__(self, inner: FrameSource, *, paced: bool = False, lost_after_s: float | None = None) -> None:
        super().__init__(inner)
        self._skipped = 0
        self._paced = paced
        # The driver of a camera may need two frames' time for each; a film's are there when they are due.
        self._max_late_s = 1 / inner.fps if paced else _MAX_LATE_S + 2 / inner.fps
        self._lost_after_s = lost_after_s
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._ended = False
        self._error: Exception | None = None
        self._closed = threading.Event()
        self._wanted = False
        self._thread: DriverThread | None = None
        self._silent_s = 0.0
        if inner.live:
            self._start()

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the newest unread frame, NOT_YET if there is none within ``timeout_s``, or ENDED.

        Raises:
            SourceLostError: if the source sent no frame for ``lost_after_s``.
            Exception: whatever reading the inner source raised.
        """
        if self._closed.is_set():
            return NoFrame.ENDED
        if self._thread is None:
            self._start()
        began = time.monotonic()
        with self._changed:
            self._wanted = True
            self._changed.wait_for(lambda: self._newest is not None or self._ended, timeout_s)
            frame, self._newest = self._newest, None
            if frame is not None:
                self._silent_s = 0.0
                return frame
            if self._error is not None:
                raise self._error
            if self._ended:
                return NoFrame.ENDED
        # Only time spent waiting here counts: while the process was stopped or busy, the camera was not silent.
        self._silent_s += min(time.monotonic() - began, timeout_s + _WAIT_OVER_S)
        if self._lost_after_s is not None and self._silent_s > self._lost_after_s:
            raise SourceLostError(f"{self.name}: no frame for {self._silent_s:.0f} s; check the camera and its cable")
        return NoFrame.NOT_YET

    def close(self) -> None:
        """Stop the thread. If it is blocked in a driver, it is abandoned after ``_JOIN_S`` and ends with the process.

        Idempotent: a second call does not wait again.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        atexit.unregister(self.close)
        if self._thread is None:
            self._inner.close()
        else:
            self._thread.join(_JOIN_S)

    @property
    def busy(self) -> bool:
        """Whether the thread that reads has not returned from the source."""
        return (self._thread is not None and self._thread.is_alive()) or super().busy

    def _start(self) -> None:
        self._thread = DriverThread(target=self._produce, name=f"read {self.name}")
        self._thread.start()
        # A thread that returns from OpenCV during interpreter shutdown would abort the process.
        atexit.register(self.close)

    def _produce(self) -> None:
        error: Exception | None = None
        try:
            with self._inner:
                self._pump()
        except Exception as problem:  # noqa: BLE001 - passed to the reader's thread, which raises it
            error = as_source_error(problem, self.name)
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def _pump(self) -> None:
        started: float | None = None
        skipping_since: float | None = None
        skipped: Frame | None = None
        while not self._closed.is_set():
            frame = self._inner.read(_PRODUCER_POLL_S)
            if frame is NoFrame.ENDED:
                if skipped is not None:  # the last frame of a film is returned, however late it is
                    self._skipped -= 1
                    self._hand_over(skipped)
                return
            if not isinstance(frame, Frame):
                self._count()
                continue
            now = time.monotonic()
            glass_at = frame.captured_at
            if self._paced:
                started = now - frame.captured_at if started is None else started
                glass_at = started + frame.captured_at
                self._closed.wait(max(0.0, glass_at - now))
            frame = replace(frame, glass_at=glass_at)
            if now - glass_at > self._max_late_s and self._wanted:
                skipping_since = now if skipping_since is None else skipping_since
                if now - skipping_since < _MAX_SKIPPING_S:
                    skipped = frame
                    self._skipped += 1
                    self._count()
                    continue
                if self._paced:
                    started = now - frame.captured_at
                    frame = replace(frame, glass_at=now)
            skipping_since = skipped = None
            self._hand_over(frame)

    def _hand_over(self, frame: Frame) -> None:
        with self._changed:
            self._skipped += self._wanted and self._newest is not None
            self._newest = frame
            self._count()
            self._changed.notify_all()

    def _count(self) -> None:
        self.dropped = self._skipped + self._inner.dropped
