"""Count the faces in view with hysteresis: ``[presence]``.

All times are seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fer_edge.settings.pipeline import PresenceSettings
from fer_edge.types import Presence


class PresenceCounter:
    """The number of faces of one source, and of each of its zones."""

    def __init__(self, zones: Sequence[str], settings: PresenceSettings) -> None:
        self._enabled = settings.enabled
        self._all = _Counter(settings)
        self._zones = {zone: _Counter(settings) for zone in zones}

    def update(
        self, zones: Sequence[str | None], now: float
    ) -> tuple[Presence | None, tuple[tuple[str | None, int], ...]]:
        """Count the faces of one frame.

        Args:
            zones: The zone of each face in view; None for a face outside all zones.
            now: Time of the frame, seconds.

        Returns:
            The numbers (None unless ``presence.enabled`` is on), and those that changed, by zone; None for the whole
            frame.
        """
        if not self._enabled:
            return None, ()
        before = self._current()
        self._all.update(len(zones), now)
        for zone, counter in self._zones.items():
            counter.update(zones.count(zone), now)
        current = self._current()
        changed = tuple((zone, faces) for zone, faces in current.items() if faces != before[zone])
        return Presence(self._all.faces, {zone: counter.faces for zone, counter in self._zones.items()}), changed

    def finish(self) -> tuple[tuple[str | None, int], ...]:
        """Return the changes to 0, because the source has ended, and start again."""
        changed = tuple((zone, 0) for zone, faces in self._current().items() if faces)
        for counter in (self._all, *self._zones.values()):
            counter.reset()
        return changed

    def _current(self) -> dict[str | None, int]:
        return {None: self._all.faces} | {zone: counter.faces for zone, counter in self._zones.items()}


class _Counter:
    """A number that rises to the minimum of the last ``enter_after_s``, and falls to the maximum of ``leave_after_s``.

    A face that is lost for a moment, or seen for a moment only, does not change it.
    """

    def __init__(self, settings: PresenceSettings) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        self.faces = 0
        self._lowest = _WindowMaximum(self._settings.enter_after_s)  # of the negative number
        self._highest = _WindowMaximum(self._settings.leave_after_s)
        self._new = True

    def update(self, faces: int, now: float) -> None:
        if self._new and self._settings.enter_after_s > 0:  # no faces before the first frame
            self._lowest.add(0, now)
        self._new = False
        low, high = -self._lowest.add(-faces, now), self._highest.add(faces, now)
        self.faces = max(low, min(self.faces, high))


class _WindowMaximum:
    """The maximum of the values of the last ``span_s`` seconds; a value holds until the next one."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._falling: deque[tuple[int, float]] = deque()
        """Values, each smaller than the one before it, and when each was last seen: at most one for each value."""

    def add(self, value: int, now: float) -> int:
        while self._falling and self._falling[-1][0] <= value:
            self._falling.pop()
        self._falling.append((value, now))
        while now - self._falling[0][1] > self._span_s:
            self._falling.popleft()
        return self._falling[0][0]
