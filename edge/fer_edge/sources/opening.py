"""Opening several sources at once, so that one that does not answer keeps no other waiting longer than it must."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fer_edge.errors import SourceLostError
from fer_edge.sources.base import FrameSource

_POLL_S = 0.1


class Opening:
    """One source that is being opened by ``opener`` in a thread of its own."""

    def __init__(self, name: str, opener: Callable[[], FrameSource]) -> None:
        self.name = name
        self._opener = opener
        self._lock = threading.Lock()
        self._result: FrameSource | Exception | None = None
        self._thread = threading.Thread(target=self._open, name=f"open {name}", daemon=True)
        self._thread.start()

    def wait(self, until: float, stop: threading.Event) -> FrameSource | SourceLostError:
        """The open source, or why there is none by ``until`` (monotonic seconds), or by when ``stop`` is set.

        Raises what the opener raised, unless that is a SourceLostError, which is returned.
        """
        while self._thread.is_alive() and time.monotonic() < until and not stop.is_set():
            self._thread.join(_POLL_S)
        with self._lock:
            if self._result is None:
                self._result = SourceLostError(f"{self.name}: cannot be opened: it does not answer")
            if isinstance(self._result, Exception) and not isinstance(self._result, SourceLostError):
                raise self._result
            return self._result

    def _open(self) -> None:
        result: FrameSource | Exception
        try:
            result = self._opener()
        except Exception as error:  # noqa: BLE001 - carried to the thread that waits, which raises it
            result = error
        with self._lock:
            abandoned = self._result is not None
            self._result = self._result if abandoned else result
        if abandoned and not isinstance(result, Exception):
            result.close()
