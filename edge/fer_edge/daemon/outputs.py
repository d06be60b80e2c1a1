"""The one place that opens, feeds and closes outputs: sinks take events, recorders the result of each frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from fer_edge.errors import OutputError
from fer_edge.protocols import EventSink, FrameRecorder
from fer_edge.recording.annotate import Annotator
from fer_edge.recording.trace import TraceWriter
from fer_edge.recording.video import AnnotatedVideo
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks import open_sinks
from fer_edge.status import StatusBoard
from fer_edge.types import EmotionEvent, FrameResult

_UPDATE_EVERY_S = 0.2
"""Seconds between two updates of a source: the page and the metrics are read less often."""
_FORGET_S = 2.0
"""Time constant in seconds over which the frame rate is averaged."""


class Outputs:
    """Every sink and recorder of a run; a context manager that closes each, also when another one fails to close."""

    def __init__(self, sinks: Sequence[EventSink] = (), recorders: Sequence[FrameRecorder] = ()) -> None:
        self._sinks, self._recorders = tuple(sinks), tuple(recorders)
        self._closed = False

    @property
    def want_colour(self) -> bool:
        """Whether a recorder wants frames in colour at present."""
        return any(getattr(recorder, "wants_colour", False) for recorder in self._recorders)

    def deliver(self, result: FrameResult) -> None:
        """Pass one frame's result to the recorders and its events to the sinks. Raises OutputError."""
        for recorder in self._recorders:
            recorder.record(result)
        self.emit(result.events)

    def emit(self, events: Iterable[EmotionEvent]) -> None:
        """Pass events to the sinks. Raises OutputError."""
        for event in events:
            for sink in self._sinks:
                sink.emit(event)

    def finish(self, failure: Exception | None) -> Exception | None:
        """Close every output, and return what failed first: ``failure``, or else the first to close. Idempotent."""
        if self._closed:
            return failure
        self._closed = True
        outputs: list[FrameRecorder | EventSink] = [*self._recorders, *self._sinks]
        for output in outputs:
            try:
                output.close()
            except Exception as error:  # noqa: BLE001 - returned, for the caller to raise
                failure = failure or error
        return failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self.finish(None)
        # An error that ended the block is more important than an output that cannot be written.
        if failure is not None and (error is None or not isinstance(failure, OSError | OutputError)):
            raise failure


def open_outputs(
    settings: RuntimeSettings,
    board: StatusBoard,
    fps: float,
    labels: Sequence[str],
    *,
    live: bool,
    also: Sequence[FrameRecorder] = (),
    stop: threading.Event | None = None,
) -> Outputs:
    """Open every output that the settings name, and add ``also``; ``live`` and ``stop`` are passed to ``open_sinks``.

    Raises:
        OutputError: If one cannot be opened; those already open are closed.
    """
    output = settings.output
    recorders: list[FrameRecorder] = [BoardRecorder(board, anonymous=output.privacy == "aggregate"), *also]
    with ExitStack() as opened:  # closes those already open when the next one is refused
        sinks = opened.enter_context(open_sinks(settings, board, live=live, stop=stop))
        if output.trace is not None:
            trace = TraceWriter(Path(output.trace), name_sources=len(settings.uris) > 1)
            recorders.append(opened.enter_context(trace))
        if output.annotate is not None:
            video = opened.enter_context(AnnotatedVideo(Path(output.annotate), fps))
            recorders.append(VideoRecorder(video, Annotator(labels)))
        opened.pop_all()
    return Outputs([sinks], [*recorders, sinks])


class VideoRecorder:
    """Draws each result and adds it to an annotated video."""

    wants_colour = True

    def __init__(self, video: AnnotatedVideo, annotator: Annotator) -> None:
        self._video, self._annotator = video, annotator

    def record(self, result: FrameResult) -> None:
        """Add one frame."""
        self._video.write(self._annotator.draw(result), result.frame.captured_at)

    def close(self) -> None:
        """Finish the video."""
        self._video.close()


class BoardRecorder:
    """Puts size, rate and time of each source's frames on the board; its tracks and presence unless ``anonymous``."""

    def __init__(self, board: StatusBoard, *, anonymous: bool) -> None:
        self._board, self._anonymous = board, anonymous
        self._rates: dict[str, _Rate] = {}

    def record(self, result: FrameResult) -> None:
        """Update the board if the last update is long enough ago."""
        rate = self._rates.setdefault(result.frame.source, _Rate())
        if not rate.count(time.monotonic()):
            return
        status = self._board.source(result.frame.source)
        self._board.update_source(
            replace(
                status,
                size=(result.frame.width, result.frame.height),
                last_frame_at=rate.at,
                fps=rate.per_s,
                tracks=() if self._anonymous else result.tracks,
                presence=None if self._anonymous else result.presence,
            )
        )

    def close(self) -> None:
        """Do nothing: no resource is held."""


class _Rate:
    """Frame rate over the last seconds."""

    def __init__(self) -> None:
        self.at: float | None = None
        self.per_s = 0.0
        self._frames = 0

    def count(self, now: float) -> bool:
        """Count one frame; return whether the rate was updated."""
        self._frames += 1
        if self.at is None:
            self.at, self._frames = now, 0
            return True
        elapsed_s = now - self.at
        if elapsed_s < _UPDATE_EVERY_S:
            return False
        if elapsed_s > _FORGET_S:  # the source was lost: the rate starts again
            self.at, self.per_s, self._frames = now, 0.0, 0
            return True
        newest = self._frames / elapsed_s
        weight = min(1.0, elapsed_s / _FORGET_S) if self.per_s else 1.0
        self.per_s += weight * (newest - self.per_s)
        self.at, self._frames = now, 0
        return True
