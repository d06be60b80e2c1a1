"""Event sinks: one module for each kind. ``open_sinks`` opens those that the settings name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from fer_edge.protocols import ClosingSink, EventSink
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.aggregate import AggregatingSink
from fer_edge.sinks.base import ManagedSink
from fer_edge.sinks.console import open_console
from fer_edge.sinks.jsonl import open_events_file
from fer_edge.sinks.mqtt.sink import open_mqtt
from fer_edge.sinks.pace import Pace
from fer_edge.sinks.webhook import open_webhook
from fer_edge.status import StatusBoard
from fer_edge.types import EmotionEvent, FrameResult

_OPENERS: tuple[Callable[[RuntimeSettings, StatusBoard, Pace], ManagedSink | None], ...] = (
    open_events_file,
    open_console,
    open_mqtt,
    open_webhook,
)
"""Each opens its sink, and adds the sink's status to the board, if the settings name one. Errors that can be detected
without a connection are raised at once."""


class SinkGroup(ClosingSink):
    """Several sinks as one.

    Args:
        sinks: The sinks.
        also: Further sinks that take the same events and never block.
    """

    def __init__(self, sinks: Sequence[ManagedSink], also: Sequence[EventSink] = ()) -> None:
        self._sinks, self._also = tuple(sinks), tuple(also)

    def emit(self, event: EmotionEvent) -> None:
        """Emit ``event`` to every sink, then raise the first error (such as OutputError) of any."""
        failures = []
        for sink in (*self._also, *self._sinks):
            try:
                sink.emit(event)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def record(self, result: FrameResult) -> None:
        """Note that a frame was processed. Raises the error that ended a sink, if any."""
        for sink in self._sinks:
            sink.record(result)

    def start_closing(self) -> None:
        """Start closing all sinks, so that they finish concurrently."""
        for sink in self._sinks:
            sink.start_closing()

    def close(self) -> None:
        """Close every sink, then raise the first error of any."""
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
    """Open all sinks that the settings name, as one.

    With ``output.privacy = "aggregate"`` every sink, ``also`` included, gets counts instead of the events of a person.

    Args:
        board: Shows the status of each sink.
        live: If true, no sink blocks the caller. Otherwise a sink blocks until it has room, which ends 5 s after
            ``stop`` is set.
        also: Further sinks that take the same events and never block.

    Raises:
        FerEdgeError: if an extra is missing, a password file cannot be read or an events file cannot be written.
    """
    pace = Pace(live=live, stop=stop)
    with ExitStack() as opened:  # closes the sinks already open if the next one fails
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
