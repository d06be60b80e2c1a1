"""A source's clock that never runs backwards."""

from __future__ import annotations

import math


class SteadyClock:
    """Makes the time of a source monotonic: after a jump back it continues from its last value."""

    def __init__(self) -> None:
        self._raw: float | None = None
        self._now = 0.0

    def advance(self, raw: float) -> float:
        """Return the monotonic time for the source's time ``raw``, seconds. A non-finite time does not advance it."""
        if not math.isfinite(raw):
            return self._now
        later = raw if self._raw is None else self._now + max(0.0, raw - self._raw)
        self._raw = raw
        if math.isfinite(later):  # the difference of two huge times may not be finite
            self._now = later
        return self._now
