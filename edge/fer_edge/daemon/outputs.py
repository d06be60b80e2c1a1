"""Everything that takes what comes out of the pipelines: sinks take events, recorders the result of each frame."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from fer_edge.daemon.board_recorder import BoardRecorder, BoardSink
from fer_edge.errors import OutputError
from fer_edge.protocols import EventSink
from fer_edge.recording.annotate import AnnotatedVideo, Annotator
from fer_edge.recording.trace import TraceWriter
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks import open_sinks
from fer_edge.status import StatusBoard
from fer_edge.types import EmotionEvent, FrameResult

_STUCK_S = 5.0
"""How long closing waits for an output that is being written to."""


class Recorder(Protocol):
    """Takes the result of every processed frame: the trace, the annotated video."""

    def record(self, result: FrameResult) -> None:
        """Take in one result. Raises OutputError."""
        ...

    def close(self) -> None:
        """Finish what was recorded."""
        ...


class Outputs:
    """Everything that takes results, behind one lock, so that several streams can share it.

    A context manager: each output is closed, also when another one fails to.
    """

    def __init__(self, sinks: Sequence[EventSink] = (), recorders: Sequence[Recorder] = ()) -> None:
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


def open_outputs(
    settings: RuntimeSettings,
    board: StatusBoard,
    source_fps: float,
    labels: Sequence[str],
    *,
    live: bool,
    also: Sequence[Recorder] = (),
    stop: threading.Event | None = None,
) -> Outputs:
    """All that the settings name, and ``also``; ``live`` and ``stop`` are for ``open_sinks``. Raises OutputError."""
    output = settings.output
    recorders: list[Recorder] = [BoardRecorder(board, anonymous=output.privacy == "aggregate"), *also]
    with ExitStack() as opened:  # closes those already open when the next one is refused
        sinks = opened.enter_context(open_sinks(settings, board, live=live, also=[BoardSink(board)], stop=stop))
        if output.trace is not None:
            trace = TraceWriter(Path(output.trace), name_sources=len(settings.source.uris) > 1)
            recorders.append(opened.enter_context(trace))
        if output.annotate is not None:
            fps = min(source_fps, settings.source.max_fps or source_fps)
            video = opened.enter_context(AnnotatedVideo(Path(output.annotate), fps))
            recorders.append(VideoRecorder(video, Annotator(labels)))
        opened.pop_all()
    return Outputs([sinks], [*recorders, sinks])


class VideoRecorder:
    """Draws each result and adds it to an annotated video."""

    def __init__(self, video: AnnotatedVideo, annotator: Annotator) -> None:
        self._video, self._annotator = video, annotator

    def record(self, result: FrameResult) -> None:
        """Add one frame."""
        self._video.write(self._annotator.draw(result), result.frame.captured_at)

    def close(self) -> None:
        """Finish the video."""
        self._video.close()
