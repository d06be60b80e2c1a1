"""The loop that carries frames from sources through pipelines to sinks, until an end, a limit or a signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Protocol, Self

from fer_edge.errors import InputError, OutputError, SourceLostError
from fer_edge.pipeline import FrameResult, Pipeline
from fer_edge.sinks.base import Sink
from fer_edge.sources import FrameSource, Opening
from fer_edge.sources.limits import Limits
from fer_edge.types import EmotionEvent

_STUCK_S = 5.0
"""How long closing waits for an output that is being written to."""
_POLL_S = 0.2
"""How long a wait for a thread lasts before signals are looked at again."""


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """One source, which may still have to open, and what gives it a pipeline of its own once it did.

    ``equip`` is called in the stream's thread.
    """

    opening: Opening
    equip: Callable[[FrameSource], Pipeline]


class Recorder(Protocol):
    """Takes the result of every processed frame: the trace, the annotated video."""

    def record(self, result: FrameResult) -> None:
        """Take in one result. Raises OutputError."""
        ...

    def close(self) -> None:
        """Finish what was recorded."""
        ...


class StopRequest:
    """SIGINT and SIGTERM, turned into a polite request while the block runs; a second one ends at once."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.interrupted = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() itself returned

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = self.interrupted or number == signal.SIGINT
        self.asked.set()
        # Whoever asks again means it: Python's own answer to Ctrl-C, and the system's to SIGTERM.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


class Outputs:
    """Everything that takes results, behind one lock, so that several streams can share it.

    A context manager: each output is closed, also when another one fails to.
    """

    def __init__(self, sinks: Sequence[Sink] = (), recorders: Sequence[Recorder] = ()) -> None:
        self._sinks, self._recorders = tuple(sinks), tuple(recorders)
        self._lock = threading.Lock()
        self._closed = False

    def deliver(self, result: FrameResult) -> None:
        """Hand one frame's result to the recorders and its events to the sinks. Raises OutputError."""
        with self._lock:
            if not self._closed:
                for recorder in self._recorders:
                    recorder.record(result)
        self.emit(result.events)

    def emit(self, events: Iterable[EmotionEvent]) -> None:
        """Hand events to the sinks. Raises OutputError."""
        with self._lock:
            if not self._closed:
                for event in events:
                    for sink in self._sinks:
                        sink.emit(event)

    def close(self) -> None:
        """Close every output; the first failure is raised after all were tried."""
        failure = self.finish(None)
        if failure is not None:
            raise failure

    def finish(self, failure: Exception | None) -> Exception | None:
        """Close every output, and return what failed first: ``failure``, if given, or else the first to close."""
        if not self._lock.acquire(timeout=_STUCK_S):
            return failure or OutputError("an output takes nothing more, as a pipe that nobody reads: given up")
        try:
            if self._closed:
                return failure
            self._closed = True
            closers = [recorder.close for recorder in self._recorders] + [sink.close for sink in self._sinks]
            for close in closers:
                try:
                    close()
                except Exception as error:  # noqa: BLE001 - returned, for the caller to raise
                    failure = failure or error
        finally:
            self._lock.release()
        return failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What ended the block is what matters; a failure to close comes after it.
        with suppress(*(() if error is None else (OSError,))):
            self.close()


def run_streams(
    streams: Sequence[Stream],
    outputs: Outputs,
    limits: Limits,
    stop: StopRequest,
    on_lost: Callable[[Exception], None] | None = None,
) -> Exception | None:
    """Run each stream in a thread of its own, from when its source is open, until all have ended and are closed.

    A source that does not open, or fails, ends its own stream alone: ``on_lost`` is told at once, from that thread,
    and the others go on. Any other failure, such as of an output that all share, ends them all. Returns what is worst
    of all, after everyone still in the picture has been told as left, for the caller to raise once the outputs are
    closed: what was recorded before a camera was lost is worth keeping.
    """
    lost: list[Exception] = []
    failures: list[Exception] = []

    def work(stream: Stream) -> None:
        with closing(stream.opening):  # last of all: a camera that hangs takes seconds to close
            try:
                source = stream.opening.wait(stop.asked)
                if source is not None:
                    _run_stream(source, stream.equip(source), outputs, limits, stop.asked)
            except (InputError, SourceLostError) as error:
                lost.append(error)
                if on_lost is not None:
                    on_lost(error)
            except Exception as error:  # noqa: BLE001 - carried to the main thread, which raises it
                failures.append(error)
                stop.asked.set()

    threads = [
        threading.Thread(target=work, args=(stream,), name=f"stream {stream.opening.name}", daemon=True)
        for stream in streams
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_POLL_S)  # with a timeout, so that signals are handled meanwhile
    return next(iter(failures + lost), None)


def _run_stream(
    source: FrameSource, pipeline: Pipeline, outputs: Outputs, limits: Limits, stop: threading.Event
) -> None:
    last_at = 0.0
    lost: Exception | None = None
    try:
        with closing(pipeline.watch(source, limits, stop)) as results:
            for result in results:
                last_at = result.frame.captured_at
                outputs.deliver(result)
    except (InputError, SourceLostError) as error:
        lost = error
    outputs.emit(pipeline.finish(last_at))
    if lost is not None:
        raise lost
