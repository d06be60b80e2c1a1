"""Feeds the page with what comes out of the pipelines."""

from __future__ import annotations

import time

from fer_edge.types import FrameResult
from fer_edge.web.history import History
from fer_edge.web.previews import Previews


class PageRecorder:
    """Takes each frame's result for the last hour's chart, and for the pictures where they are shown."""

    def __init__(self, history: History, previews: Previews | None) -> None:
        self._history, self._previews = history, previews

    def record(self, result: FrameResult) -> None:
        """Take in one result."""
        self._history.add(result.frame.source, result.tracks, time.monotonic())
        if self._previews is not None:
            self._previews.put(result)

    def close(self) -> None:
        """Nothing to let go of."""
