"""Frame recorder that feeds the status page."""

from __future__ import annotations

import time

from fer_edge.types import FrameResult
from fer_edge.web.history import History
from fer_edge.web.previews import Previews


class PageRecorder:
    """Record results for the chart of the last hour and, if given, for the previews."""

    def __init__(self, history: History, previews: Previews | None) -> None:
        self._history, self._previews = history, previews

    @property
    def wants_colour(self) -> bool:
        """Whether a client views the previews."""
        return self._previews is not None and self._previews.watched

    def record(self, result: FrameResult) -> None:
        """Record one result."""
        self._history.add(result.frame.source, result.tracks, time.monotonic())
        if self._previews is not None:
            self._previews.put(result)

    def close(self) -> None:
        """Do nothing; part of the protocol."""
