"""Event sinks: one module for each kind. ``open_sinks`` opens those that the settings name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from fer_edge.protocols import EventSink
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.aggregate import AggregatingSink
from fer_edge.sinks.base import ManagedSink, Pace
from fer_edge.sinks.console import encode_line
from fer_edge.sinks.event_json import event_json, json_line
from fer_edge.sinks.line_file import STANDARD_OUTPUT, LineFile
from fer_edge.sinks.queued import AT_ONCE, Batching, DirectSink, Encode, QueuedSink
from fer_edge.status import StatusBoard
from fer_edge.system.extras import require_extra
from fer_edge.types import EmotionEvent, FrameResult

_MIB = 2**20


class SinkGroup(ManagedSink):
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


def _open_events_file(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    output = settings.output
    if output.events is None:
        return None
    max_bytes = None if output.events_max_mib is None else int(output.events_max_mib * _MIB)
    sync_s = output.events_sync_s
    file = LineFile(output.events, max_bytes=max_bytes, keep=output.events_keep, synced=sync_s is not None)
    batching = Batching(output.events_gather_s, None if sync_s is None else file.sync, sync_s or 0.0)
    return _open_lines(file, json_line, "events", settings, board, pace, batching)


def _open_console(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    if settings.output.events == STANDARD_OUTPUT:
        return None
    # A file descriptor, not ``sys.stdout``: a reader that stops reading would block Python's buffer for all threads.
    return _open_lines(LineFile(STANDARD_OUTPUT), encode_line, "console", settings, board, pace)


def _open_lines(
    file: LineFile,
    encode: Encode,
    name: str,
    settings: RuntimeSettings,
    board: StatusBoard,
    pace: Pace,
    batching: Batching = AT_ONCE,
) -> ManagedSink:
    """Return a sink for ``file``, with a queue for live sources and if events are gathered or synced.

    A queue that may reconnect treats failures as outages. Without a queue, events are written while the caller waits.
    """
    sink: QueuedSink | DirectSink
    if pace.live or batching.gather_s or batching.sync is not None:
        hold = settings.output.hold
        retry_s = settings.recovery.retry_most_s if settings.recovery.reconnect else None
        sink = QueuedSink(file, encode, name, hold=hold, pace=pace, max_retry_s=retry_s, batching=batching)
    else:
        sink = DirectSink(file, encode, name)
    board.watch_sink(sink.status)
    return sink


def _open_mqtt(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    if settings.mqtt.host is None:
        return None
    require_extra("mqtt")
    from fer_edge.sinks.mqtt.sink import MqttSink

    sink = MqttSink(settings, board, pace=pace)
    board.watch_sink(sink.status)
    return sink


def _open_webhook(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    hook = settings.webhook
    if hook.url is None:
        return None
    from fer_edge.sinks.webhook import Webhook  # http.client and ssl are slow to import

    sink = QueuedSink(Webhook(hook), event_json, "webhook", hold=hook.hold, pace=pace, max_retry_s=hook.retry_most_s)
    board.watch_sink(sink.status)
    return sink


_OPENERS: tuple[Callable[[RuntimeSettings, StatusBoard, Pace], ManagedSink | None], ...] = (
    _open_events_file,
    _open_console,
    _open_mqtt,
    _open_webhook,
)
"""Each opens its sink, and adds the sink's status to the board, if the settings name one. Errors that can be detected
without a connection are raised at once."""
