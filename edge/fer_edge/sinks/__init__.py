"""Event sinks: one module for each kind. ``open_sinks`` opens those that the settings name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.aggregate import AggregatingSink
from fer_edge.sinks.base import ManagedSink, Pace, numbered
from fer_edge.sinks.console import encode_text_line
from fer_edge.sinks.event_json import encode_json, encode_json_line
from fer_edge.sinks.line_file import STANDARD_OUTPUT, LineFile
from fer_edge.sinks.queued import AT_ONCE, Batching, DirectSink, Encode, QueuedSink
from fer_edge.status import StatusBoard
from fer_edge.system.extras import require_extra
from fer_edge.types import EmotionEvent, FrameResult

if TYPE_CHECKING:
    from fer_edge.sinks.mqtt.sink import MqttSink

_MIB = 2**20


class SinkGroup(ManagedSink):
    """Several sinks as one; ``tell`` is called with each event first and must not block."""

    def __init__(self, sinks: Sequence[ManagedSink], tell: Callable[[EmotionEvent], None]) -> None:
        self._sinks, self._tell = tuple(sinks), tell

    def emit(self, event: EmotionEvent) -> None:
        """Number ``event`` and emit it to every sink, then raise the first error (such as OutputError) of any."""
        failures = []
        event = numbered(event)
        self._tell(event)
        for sink in self._sinks:
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
            for sink in self._sinks:
                stack.callback(sink.close)


def open_sinks(
    settings: RuntimeSettings, board: StatusBoard, *, live: bool, stop: threading.Event | None = None
) -> ManagedSink:
    """Open all sinks that the settings name, as one.

    With ``output.privacy = "aggregate"`` every sink and ``board`` get counts instead of the events of a person.

    Args:
        board: Shows the newest events, and the status of each sink.
        live: If true, no sink blocks the caller. Otherwise a sink blocks until it has room, which ends 5 s after
            ``stop`` is set.

    Raises:
        FerEdgeError: if an extra is missing, a password file cannot be read or an events file cannot be written.
    """
    pace = Pace(live=live, stop=stop)
    with ExitStack() as opened:  # closes the sinks already open if the next one fails
        sinks: list[ManagedSink] = []
        for sink in _open_each(settings, board, pace):
            sinks.append(opened.enter_context(sink))
            board.watch_sink(sink.status)
        opened.pop_all()
    group = SinkGroup(sinks, board.tell)
    if settings.output.privacy != "aggregate":
        return group
    return AggregatingSink(group, settings.output.aggregate_s, live=live, sources=board.source_names)


def _open_each(
    settings: RuntimeSettings, board: StatusBoard, pace: Pace
) -> Iterator[QueuedSink | DirectSink | MqttSink]:
    """Open each sink that the settings name. Errors that can be detected without a connection are raised at once."""
    output, hook = settings.output, settings.webhook
    if output.events is not None:
        sync_s = output.events_max_unsynced_s
        max_bytes = None if output.events_max_mib is None else int(output.events_max_mib * _MIB)
        file = LineFile(output.events, max_bytes=max_bytes, keep=output.events_max_rotated, synced=sync_s is not None)
        batching = Batching(output.events_max_buffered_s, None if sync_s is None else file.sync, sync_s or 0.0)
        yield _line_sink(file, encode_json_line, "events", settings, pace, batching)
    if output.events != STANDARD_OUTPUT:
        # A file descriptor, not ``sys.stdout``: a reader that stops reading would block Python's buffer for all
        # threads.
        encode = partial(encode_text_line, local_time=pace.live)
        yield _line_sink(LineFile(STANDARD_OUTPUT), encode, "console", settings, pace)
    # Imported here: a daemon without these sinks does not load paho, http.client and ssl.
    if settings.mqtt.host is not None:
        require_extra("mqtt")
        from fer_edge.sinks.mqtt.sink import MqttSink

        yield MqttSink(settings, board, pace=pace)
    if hook.url is not None:
        from fer_edge.sinks.webhook import Webhook

        max_queued, retry_s = hook.max_queued_events, hook.retry_max_s
        yield QueuedSink(Webhook(hook), encode_json, "webhook", max_queued=max_queued, pace=pace, max_retry_s=retry_s)


def _line_sink(
    file: LineFile, encode: Encode, name: str, settings: RuntimeSettings, pace: Pace, batching: Batching = AT_ONCE
) -> QueuedSink | DirectSink:
    """Return a sink for ``file``, with a queue for live sources and if events are gathered or synced.

    With ``recovery.reconnect``, failures of a queue are outages. Without a queue, events are written while the caller
    waits.
    """
    if not (pace.live or batching.gather_s or batching.sync is not None):
        return DirectSink(file, encode, name)
    max_queued = settings.output.max_queued_events
    retry_s = settings.recovery.retry_max_s if settings.recovery.reconnect else None
    return QueuedSink(file, encode, name, max_queued=max_queued, pace=pace, max_retry_s=retry_s, batching=batching)
