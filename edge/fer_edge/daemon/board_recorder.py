"""Recorder that keeps the status board up to date."""

from __future__ import annotations

import time
from dataclasses import replace

from fer_edge.status import StatusBoard
from fer_edge.types import FrameResult

_EVERY_S = 0.2
"""Seconds between two updates of a source: the page and the metrics are read less often."""
_FORGET_S = 2.0
"""Time constant in seconds over which the frame rate is averaged."""


class BoardRecorder:
    """Puts size, rate and time of each source's frames on the board; its tracks and presence unless ``anonymous``."""

    def __init__(self, board: StatusBoard, *, anonymous: bool) -> None:
        self._board, self._anonymous = board, anonymous
        self._rates: dict[str, _Rate] = {}

    def record(self, result: FrameResult) -> None:
        """Update the board if the last update is long enough ago."""
        rate = self._rates.setdefault(result.frame.source, _Rate())
        if not rate.count(time.monotonic()):
            return
        status = self._board.source(result.frame.source)
        self._board.update_source(
            replace(
                status,
                size=(result.frame.width, result.frame.height),
                last_frame_at=rate.at,
                fps=rate.per_s,
                tracks=() if self._anonymous else result.tracks,
                presence=None if self._anonymous else result.presence,
            )
        )

    def close(self) -> None:
        """Do nothing: no resource is held."""


class _Rate:
    """Frame rate over the last seconds."""

    def __init__(self) -> None:
        self.at: float | None = None
        self.per_s = 0.0
        self._frames = 0

    def count(self, now: float) -> bool:
        """Count one frame; return whether the rate was updated."""
        self._frames += 1
        if self.at is None:
            self.at, self._frames = now, 0
            return True
        elapsed_s = now - self.at
        if elapsed_s < _EVERY_S:
            return False
        if elapsed_s > _FORGET_S:  # the source was lost: the rate starts again
            self.at, self.per_s, self._frames = now, 0.0, 0
            return True
        newest = self._frames / elapsed_s
        weight = min(1.0, elapsed_s / _FORGET_S) if self.per_s else 1.0
        self.per_s += weight * (newest - self.per_s)
        self.at, self._frames = now, 0
        return True
