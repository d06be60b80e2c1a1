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
    """Why ``FrameSource.read`` returned no frame: ``NOT_YET``, or ``ENDED`` after the last frame.

    >>> import cv2, tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fer_edge import open_source
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = cv2.imwrite(str(Path(folder) / "wall.png"), np.zeros((48, 64), np.uint8))
    ...     with open_source(Path(folder) / "wall.png") as source:
    ...         print(type(source.read(timeout_s=1.0)).__name__, source.read(timeout_s=1.0))
    Frame NoFrame.ENDED
    """

    NOT_YET = "not yet"
    ENDED = "ended"


class FrameSource(Protocol):
    """A source of grey frames; a context manager.

    Attributes:
        name: Name of the source in frames and events.
        live: Frames come in real time, and are stamped with the monotonic clock. Otherwise they wait to be read, and
            are stamped with media time in seconds from 0.
        still: The source is a single image.
        fps: Nominal frame rate.
        dropped: Number of frames that were replaced by newer ones or damaged.
        keep_colour: Set it to get frames with ``bgr`` from a source that has colour; it costs time and memory. May be
            changed between two calls of ``read``. A source of your own may lack it.

    >>> from fer_edge import open_source
    >>> with open_source("demo") as source:
    ...     frame = source.read(timeout_s=1.0)
    >>> source.live, frame.captured_at, frame.gray.shape
    (False, 0.0, (480, 640))
    """

    name: str
    live: bool
    still: bool
    fps: float
    dropped: int
    keep_colour: bool

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame; ``NOT_YET`` if a live source has none within ``timeout_s``; ``ENDED`` after the last.

        Raises:
            InputError: If a file is damaged.
            SourceLostError: If a camera or stream was lost.
        """
        ...

    def close(self) -> None:
        """Release the device, file or thread. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosingSource(Closing):
    """Base class for your own sources: a context manager that calls ``close``, with ``still`` false.

    ``close`` does nothing unless overridden; your own must be idempotent.

    >>> import numpy as np
    >>> from fer_edge import Frame, NoFrame
    >>> class Black(ClosingSource):
    ...     name, live, fps, dropped = "black", False, 15.0, 0
    ...
    ...     def __init__(self, frames: int) -> None:
    ...         self.index, self.frames = -1, frames
    ...
    ...     def read(self, timeout_s: float) -> Frame | NoFrame:
    ...         self.index += 1
    ...         if self.index >= self.frames:
    ...             return NoFrame.ENDED
    ...         return Frame(self.name, self.index, self.index / self.fps, np.zeros((48, 64), np.uint8))
    >>> with Black(frames=1) as source:
    ...     print(source.read(1.0).gray.shape, source.read(1.0))
    (48, 64) NoFrame.ENDED
    """

    still = False
    keep_colour = False


class FaceDetector(Protocol):
    """Detects faces in a region of a frame.

    >>> from fer_edge import Box, EmotionClassifier, Face, Pipeline, load_bundle
    >>> class CentreDetector:
    ...     def detect(self, gray, search):
    ...         height, width = gray.shape
    ...         return [Face(Box(width // 2 - 50, height // 2 - 50, 100, 100), score=1.0)]
    >>> pipeline = Pipeline(CentreDetector(), EmotionClassifier(load_bundle()))
    """

    def detect(self, gray: UInt8Array, search: Search) -> list[Face]:
        """Return the faces in ``search.region`` of ``gray``, uint8 [H, W], by descending score.

        Boxes are in pixels of ``gray``. The other fields of ``search`` are hints: a detector may search at a larger
        scale, and return faces of other sizes.
        """
        ...


class Classifier(Protocol):
    """Classifies the emotion of a crop; ``EmotionClassifier`` is one, any class with these methods another.

    >>> import numpy as np
    >>> from fer_edge import CropSpec, EmotionProbabilities, Pipeline
    >>> class Brightness:
    ...     labels, crop_spec = ("dark", "bright"), CropSpec(height=48, width=48)
    ...
    ...     def classify(self, crop):
    ...         bright = float(crop.pixels.mean()) / 255
    ...         return EmotionProbabilities(np.array([1 - bright, bright], np.float32))
    ...
    ...     def close(self):
    ...         pass
    >>> pipeline = Pipeline(None, Brightness())
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of each probability, in order."""
        ...

    @property
    def crop_spec(self) -> CropSpec:
        """Size and margin of the crop that ``classify`` takes."""
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
    """Takes the result of every processed frame, such as the trace and the annotated video.

    One that has an attribute ``wants_colour`` gets frames in colour while it is true.
    """

    def record(self, result: FrameResult) -> None:
        """Take one result. Raises OutputError."""
        ...

    def close(self) -> None:
        """Finish what was recorded. Idempotent."""
        ...


class EventSink(Protocol):
    """Takes events, one at a time. Any class with these two methods is one; ``ClosingSink`` is a base class for it.

    >>> class Printer:
    ...     def emit(self, event: EmotionEvent) -> None:
    ...         print(event.kind.value, event.source)
    ...     def close(self) -> None:
    ...         pass
    >>> sink: EventSink = Printer()
    >>> from fer_edge import EventKind
    >>> sink.emit(EmotionEvent(EventKind.HEARTBEAT, "cam0", at=1.7e9, mono=0.0))
    heartbeat cam0
    """

    def emit(self, event: EmotionEvent) -> None:
        """Pass ``event`` on. Raises OutputError if that is not possible."""
        ...

    def close(self) -> None:
        """Release the file or connection. Idempotent."""
        ...


class ClosingSink(Closing):
    """Base class of an ``EventSink``: a context manager that calls ``close``.

    ``close`` does nothing unless overridden; your own must be idempotent.

    >>> from fer_edge import EmotionEvent, EventKind
    >>> class Kinds(ClosingSink):
    ...     def emit(self, event: EmotionEvent) -> None:
    ...         print(event.kind.value)
    >>> with Kinds() as sink:
    ...     sink.emit(EmotionEvent(EventKind.HEARTBEAT, "cam0", 1.7e9, 0.0))
    heartbeat
    """
