"""Exponential backoff between attempts."""

from __future__ import annotations


class Backoff:
    """Delays that start at ``first_s`` seconds and double up to ``max_s``."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s, self._max_s = first_s, max_s
        self.wait_s = first_s
        """The next delay, seconds."""

    def take(self) -> float:
        """Return the next delay in seconds, and double the one after it."""
        wait_s = self.wait_s
        self.wait_s = min(2 * wait_s, self._max_s)
        return wait_s

    def reset(self) -> None:
        """Start again at ``first_s``, after a success."""
        self.wait_s = self._first_s
