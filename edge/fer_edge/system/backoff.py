"""How long to wait before the next attempt: twice as long as before the last one, up to a bound."""

from __future__ import annotations


class Backoff:
    """Waits that begin at ``first_s`` seconds and double up to ``most_s``."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s, self._most_s = first_s, most_s
        self.wait_s = first_s
        """Seconds that the next wait lasts."""

    def take(self) -> float:
        """The wait that is due, seconds; the one after it is longer."""
        wait_s = self.wait_s
        self.wait_s = min(2 * wait_s, self._most_s)
        return wait_s

    def reset(self) -> None:
        """It went well: begin anew."""
        self.wait_s = self._first_s
