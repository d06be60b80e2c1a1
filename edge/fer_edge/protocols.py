"""The protocols of the parts that can be replaced: sources, detectors, classifiers, event sinks."""

from __future__ import annotations

from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from fer_edge.system.closing import Closing
from fer_edge.types import (
    CropSpec,
    EmotionEvent,
    EmotionProbabilities,
    Face,
    FaceCrop,
    Frame,
    FrameResult,
    Search,
    UInt8Array,
)


class NoFrame(Enum):
    """Why ``read`` gave no frame."""

    NOT_YET = "not yet"
    ENDED = "ended"


class FrameSource(Protocol):
    """A source of grey frames; a context manager whose ``close`` may be called twice.

    ``live`` tells that ``captured_at`` is the monotonic clock and that the world does not wait; otherwise it is
    media time in seconds from 0. ``still`` tells that it is one picture, which no other frame follows. ``fps`` is
    the nominal rate. ``dropped`` counts frames that were overtaken or damaged.
    """

    name: str
    live: bool
    still: bool
    fps: float
    dropped: int

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame. NOT_YET when a live source has none within ``timeout_s``; ENDED after the last one.

        Raises InputError for a damaged file, SourceLostError for a camera that is gone.
        """
        ...

    def close(self) -> None:
        """Let go of the device, the file or the thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosingSource(Closing):
    """A context manager that calls ``close`` at its end; no still, unless it says so."""

    still = False

    def close(self) -> None:
        """Let go of what the source holds; harmless when called again."""


class FaceDetector(Protocol):
    """Finds faces in a part of a frame."""

    def detect(self, gray: UInt8Array, search: Search) -> list[Face]:
        """Return the faces in ``search.region`` of ``gray``, surest first; boxes in pixels of ``gray``.

        ``gray`` is uint8 [H, W]. The other fields of ``search`` are hints: a detector may search more finely, and
        report faces of other sizes.
        """
        ...


class Classifier(Protocol):
    """Reads the emotion from a crop; see ``EmotionClassifier``."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each probability."""
        ...

    @property
    def crop_spec(self) -> CropSpec:
        """The crop that ``classify`` takes."""
        ...

    def classify(self, crop: FaceCrop) -> EmotionProbabilities:
        """Return the probability of each label."""
        ...

    def close(self) -> None:
        """Release the model. Idempotent."""
        ...


class FaceLikelihood(Protocol):
    """Distinguishes faces from clutter; see ``FaceCheck``."""

    def read(self, gray: UInt8Array, face: Face) -> float:
        """Return the log-odds (natural logarithm) that ``face`` in ``gray``, uint8 [H, W], is a face."""
        ...

    def close(self) -> None:
        """Release the model. Idempotent."""
        ...


class FrameRecorder(Protocol):
    """Takes the result of every processed frame, such as the trace and the annotated video."""

    def record(self, result: FrameResult) -> None:
        """Take one result. Raises OutputError."""
        ...

    def close(self) -> None:
        """Finish what was recorded. Idempotent."""
        ...


class EventSink(Protocol):
    """Takes events, one at a time. Any class with these two methods is one; ``ClosingSink`` is a base class for it."""

    def emit(self, event: EmotionEvent) -> None:
        """Pass ``event`` on. Raises OutputError if that is not possible."""
        ...

    def close(self) -> None:
        """Release the file or connection. Idempotent."""
        ...


class ClosingSink(Closing):
    """Base class of an ``EventSink``: a context manager that calls ``close`` at its end.

    >>> from fer_edge import EmotionEvent, EventKind
    >>> class Kinds(ClosingSink):
    ...     def emit(self, event: EmotionEvent) -> None:
    ...         print(event.kind.value)
    >>> with Kinds() as sink:
    ...     sink.emit(EmotionEvent(EventKind.HEARTBEAT, "cam0", 1.7e9, 0.0))
    heartbeat
    """

    def close(self) -> None:
        """Release what the sink holds. Idempotent; does nothing unless overridden."""
