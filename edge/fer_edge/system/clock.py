"""A source's time, for the stages that remember: it never goes back."""

from __future__ import annotations

import math


class SteadyClock:
    """The source's clock, made never to go back: after a jump back it goes on from where it was."""

    def __init__(self) -> None:
        self._raw: float | None = None
        self._now = 0.0

    def advance(self, raw: float) -> float:
        """The steady time of the source's time ``raw``, seconds; a time that is no finite number stands still."""
        if not math.isfinite(raw):
            return self._now
        later = raw if self._raw is None else self._now + max(0.0, raw - self._raw)
        self._raw = raw
        if math.isfinite(later):  # the difference of two huge times may not be
            self._now = later
        return self._now
