"""Limit how many messages of each device are stored, so that one that floods cannot fill the database."""

from __future__ import annotations

REASON = "rate limit"
"""Why a message above the limit is rejected."""
DEFAULT_PER_S = 10.0
BURST_S = 10_000.0
"""Seconds' worth of messages that a device may send at once: what waited in it or at the broker comes together."""
_MESSAGE_BYTES = 1024
"""A larger message counts as several."""
_MAX_DEVICES = 100_000


class RateLimit:
    """A token bucket for each device: ``per_s`` messages per second on average, ``BURST_S`` seconds' worth at once.

    >>> limit = RateLimit(0.001)
    >>> [limit.allows("door", 100, now=0.0) for _ in range(11)].count(True)
    10
    >>> limit.allows("yard", 100, now=0.0), limit.allows("door", 100, now=1000.0), limit.allows("door", 100, now=1001.0)
    (True, True, False)
    """

    def __init__(self, per_s: float) -> None:
        self._per_s, self._burst = per_s, max(1.0, per_s * BURST_S)
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, device: str, size: int, now: float) -> bool:
        """Count a message of ``size`` bytes at the time ``now``, seconds; return whether to store it."""
        left, at = self._buckets.get(device, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_s)
        cost = 1 + size // _MESSAGE_BYTES
        allowed = left >= cost
        self._buckets[device] = (left - cost if allowed else left), now
        if len(self._buckets) > _MAX_DEVICES:
            self._forget(now)
        return allowed

    def _forget(self, now: float) -> None:
        """Remove the devices whose buckets are full: without an ACL, a client can invent names."""
        self._buckets = {
            device: (left, at)
            for device, (left, at) in self._buckets.items()
            if left + (now - at) * self._per_s < self._burst
        }
