"""Where events go: each kind of sink is one file with an opener, which stands in ``_OPENERS``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from fer_edge.protocols import ClosingSink, EventSink
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.aggregate import AggregatingSink
from fer_edge.sinks.base import ManagedSink, ProcessedFrame
from fer_edge.sinks.console import open_console
from fer_edge.sinks.jsonl import open_events_file
from fer_edge.sinks.mqtt.sink import open_mqtt
from fer_edge.sinks.pace import Pace
from fer_edge.sinks.webhook import open_webhook
from fer_edge.status import StatusBoard
from fer_edge.types import EmotionEvent

_OPENERS: tuple[Callable[[RuntimeSettings, StatusBoard, Pace], ManagedSink | None], ...] = (
    open_events_file,
    open_console,
    open_mqtt,
    open_webhook,
)
"""Each opens the sink that the settings name, if they name one, and tells the board of it; What can be
refused is refused there, at once."""


class SinkGroup(ClosingSink):
    """All sinks of a run, as one; ``also`` takes the same events, and never waits."""

    def __init__(self, sinks: Sequence[ManagedSink], also: Sequence[EventSink] = ()) -> None:
        self._sinks, self._also = tuple(sinks), tuple(also)

    def emit(self, event: EmotionEvent) -> None:
        """Hand ``event`` to each. Raises what ended one of them, such as OutputError."""
        failures = []
        for sink in (*self._also, *self._sinks):
            try:
                sink.emit(event)
            except OSError as error:  # the others get it all the same
                failures.append(error)
        if failures:
            raise failures[0]

    def record(self, result: ProcessedFrame) -> None:
        """A frame was processed. Raises what ended one of them, such as OutputError."""
        for sink in self._sinks:
            sink.record(result)

    def start_closing(self) -> None:
        """Nothing more comes: all finish side by side."""
        for sink in self._sinks:
            sink.start_closing()

    def close(self) -> None:
        """Close each; the first failure is raised after all were tried."""
        self.start_closing()
        with ExitStack() as stack:
            for sink in (*self._also, *self._sinks):
                stack.callback(sink.close)


def open_sinks(
    settings: RuntimeSettings,
    board: StatusBoard,
    *,
    live: bool,
    also: Sequence[EventSink] = (),
    stop: threading.Event | None = None,
) -> ManagedSink:
    """All sinks that the settings name, as one, with ``also``; each is told to ``board``.

    ``live``: no sink ever makes the caller wait. Otherwise files are read, and wait for what is written of them, until
    ``stop`` is set, and 5 s longer. With
    ``output.privacy = "aggregate"`` all of them, ``also`` too, get counts in place of what each person does.

    Raises FerEdgeError for what can be refused at once: an extra that is missing, a password file that cannot be read,
    a file of events that cannot be written.
    """
    pace = Pace(live=live, stop=stop)
    with ExitStack() as opened:  # closes those already open when the next one is refused
        sinks: list[ManagedSink] = []
        for opener in _OPENERS:
            sink = opener(settings, board, pace)
            if sink is not None:
                sinks.append(opened.enter_context(sink))
        opened.pop_all()
    group = SinkGroup(sinks, also)
    if settings.output.privacy != "aggregate":
        return group

    def names() -> list[str]:
        return [source.name for source in board.snapshot(with_runtimes=False).sources]

    return AggregatingSink(group, settings.output.aggregate_s, live=live, sources=names)
