"""The values that travel along the pipeline: one small frozen dataclass for each arrow.

Classes that hold an array are declared ``eq=False``: the generated ``==`` and ``hash`` would raise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


def check_gray(pixels: object) -> None:
    """Raise InputError unless ``pixels`` are uint8 [H, W], at least one."""
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise InputError(f"a grey picture must be uint8 [H, W], not {described(pixels)}; fer_edge.to_gray makes one")


def described(value: object) -> str:
    """What ``value`` is, for a refusal: ``float64 [480, 640]``, or the name of a type that is no array."""
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle in pixels; ``x``, ``y`` is the top left corner. May lie partly outside a frame."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        """Pixels covered; 0 for an empty box."""
        return max(0, self.width) * max(0, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        """Centre point (x, y) in pixels."""
        return self.x + self.width / 2, self.y + self.height / 2

    def iou(self, other: Box) -> float:
        """Intersection over union, 0..1; 0 when either box is empty."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if width <= 0 or height <= 0:
            return 0.0
        intersection = width * height
        return intersection / (self.area + other.area - intersection)

    def grown(self, factor: float) -> Box:
        """The box scaled about its centre by ``factor`` (1.0 leaves it as it is), rounded to whole pixels."""
        centre_x, centre_y = self.centre
        width, height = round(self.width * factor), round(self.height * factor)
        return Box(round(centre_x - width / 2), round(centre_y - height / 2), width, height)

    def clipped(self, width: int, height: int) -> Box:
        """The part of the box inside a frame of ``width`` x ``height`` pixels; empty when there is none."""
        left, top = min(max(self.x, 0), width), min(max(self.y, 0), height)
        right = min(max(self.x + self.width, left), width)
        bottom = min(max(self.y + self.height, top), height)
        return Box(left, top, right - left, bottom - top)

    def as_list(self) -> list[int]:
        """``[x, y, width, height]``, as traces and JSON hold it."""
        return [self.x, self.y, self.width, self.height]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One grey image of a source.

    ``captured_at`` is seconds: the monotonic clock for a live source, media time for a file.
    ``gray`` is uint8 [H, W], else InputError is raised. ``glass_at`` is when light fell on the sensor, as near as is
    known, in seconds of the monotonic clock; None for a file that is not paced like a camera.
    """

    source: str
    index: int
    captured_at: float
    gray: UInt8Array
    glass_at: float | None = None

    def __post_init__(self) -> None:
        check_gray(self.gray)

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.gray.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.gray.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class SceneMotion:
    """When each part of a source's picture last changed, in cells that cover it evenly; good until its next frame.

    ``frame_size`` is (width, height) in pixels. ``changed_at`` and ``news_at`` are float64 [rows, columns], seconds of
    the source's clock; ``news_at`` leaves out what changed where known faces are looked for anyway.
    """

    frame_size: tuple[int, int]
    changed_at: Float64Array
    news_at: Float64Array

    def last_change(self, box: Box) -> float:
        """When anything in ``box`` last changed; minus infinity where it lies outside."""
        return float(self.changed_at[self.cells(box)].max(initial=-np.inf))

    def last_news(self, box: Box) -> float:
        """When anything in ``box`` last changed that is no known face."""
        return float(self.news_at[self.cells(box)].max(initial=-np.inf))

    def newest_news(self) -> float:
        """When anything last changed that is no known face."""
        return float(self.news_at.max(initial=-np.inf))

    def cells(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns of the cells that ``box`` touches."""
        (width, height), (rows, columns) = self.frame_size, self.changed_at.shape
        inside = box.clipped(width, height)
        if inside.area == 0:
            return slice(0), slice(0)
        top, left = inside.y * rows // height, inside.x * columns // width
        bottom = -(-(inside.y + inside.height) * rows // height)
        right = -(-(inside.x + inside.width) * columns // width)
        return slice(top, bottom), slice(left, right)


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face: its box in frame pixels and the detector's score (higher is surer; unitless)."""

    box: Box
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """A face cut out for the classifier.

    ``pixels`` is uint8 [height, width] of the model's input size; ``quality`` is 0..1, the share of the
    crop that lies inside the frame.
    """

    face: Face
    pixels: UInt8Array
    quality: float


class CropFault(StrEnum):
    """Why a crop is not classified."""

    SMALL = "small"
    CUT = "cut"
    OVEREXPOSED = "overexposed"
    LOW_CONTRAST = "low_contrast"
    BLURRED = "blurred"
    NOISY = "noisy"


@dataclass(frozen=True, slots=True, eq=False)
class EmotionProbabilities:
    """Calibrated probabilities, float32 [labels], in the bundle's label order; they sum to 1."""

    values: Float32Array

    @property
    def top(self) -> int:
        """Index of the most probable label (the first of equals)."""
        return int(np.argmax(self.values))


@dataclass(frozen=True, slots=True)
class Track:
    """One face followed over time.

    ``box`` is where it is now (predicted while it is not found), ``last_seen`` seconds of the source's clock,
    ``confirmed`` whether it was found often enough to be told of. ``face`` is where to read its expression: as it was
    found, or where it is when nobody looked for it since; None when it was looked for and not found. ``last_looked`` is
    when it was last looked for, found or not; ``last_placed`` when it was last known where it is, for it was found or
    its looks were. ``found`` and ``matched`` tell that it was, or they were, in this frame.
    """

    track_id: int
    box: Box
    last_seen: float
    confirmed: bool
    face: Face | None = None
    last_looked: float = -math.inf
    last_placed: float = -math.inf
    found: bool = False
    matched: bool = False

    @property
    def lost(self) -> bool:
        """Whether the last look for it was in vain."""
        return self.last_looked > self.last_seen

    @property
    def followed(self) -> bool:
        """Whether it is known where it is: by the last look for it, or by its looks."""
        return self.confirmed and (self.matched or not self.lost)


@dataclass(frozen=True, slots=True, eq=False)
class TrackReading:
    """A track with its smoothed ``probabilities``.

    None before the first reading, and while its crops are not good enough to be classified.
    """

    track: Track
    probabilities: EmotionProbabilities | None


UNCERTAIN = "uncertain"
"""State of a track whose expression is not told; not a label of the model."""


@dataclass(frozen=True, slots=True)
class TrackedEmotion:
    """What is said of one track after smoothing; ``emotion`` is a label or ``UNCERTAIN``.

    ``confidence`` is the smoothed probability of the emotion (of the best label when uncertain), 0..1, and 0 when
    nothing can be read of the face;
    ``since`` is the time (source clock, seconds) at which the emotion became this one.
    """

    source: str
    track_id: int
    box: Box
    emotion: str
    confidence: float
    since: float


class EventKind(StrEnum):
    """What an event tells."""

    APPEARED = "appeared"
    CHANGED = "changed"
    LEFT = "left"
    HEARTBEAT = "heartbeat"
    SOURCE_LOST = "source_lost"
    SOURCE_BACK = "source_back"
    COUNTS = "counts"


@dataclass(frozen=True, slots=True)
class FaceCounts:
    """What was seen in an interval of ``interval_s`` seconds, added up over everybody.

    ``appeared`` is how many faces came into the picture, ``most_at_once`` how many there were at most, ``emotion_s``
    the seconds for which each emotion was told (``UNCERTAIN`` too), summed over all faces.
    """

    interval_s: float
    appeared: int = 0
    most_at_once: int = 0
    emotion_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmotionEvent:
    """Something worth telling the outside world; one JSON line each (``schema/event.schema.json``).

    ``at`` is wall-clock seconds since the epoch (UTC), ``mono`` the source's own clock in seconds.
    ``track_id``, ``emotion``, ``previous`` and ``confidence`` are None where the kind has none; ``reason`` says, of a
    source that was lost, why; ``counts`` belongs to the kind of that name.
    """

    kind: EventKind
    source: str
    at: float
    mono: float
    track_id: int | None = None
    emotion: str | None = None
    previous: str | None = None
    confidence: float | None = None
    reason: str | None = None
    counts: FaceCounts | None = None


LATENCY_LIMITS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds by which stages are counted for monitoring, beside their percentiles."""


@dataclass(frozen=True, slots=True)
class StageLatency:
    """Latency of one pipeline stage in milliseconds; ``calls`` is how often it ran.

    ``total_s`` is what all calls took together, seconds; ``within`` counts those that took no longer than each of
    ``LATENCY_LIMITS_S``, in their order.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    calls: int
    total_s: float = 0.0
    within: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InterpreterInfo:
    """What runs the model: ``name`` and ``version`` of the distribution, and its ``threads``.

    ``delegate`` (XNNPACK) has taken ``delegated_nodes`` of the graph's ``nodes``, and is None where it took none: then
    built-in kernels run all of them. The counts are None where the interpreter does not tell.
    """

    name: str
    version: str
    delegate: str | None
    delegated_nodes: int | None
    nodes: int | None
    threads: int


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """A snapshot of the running pipeline, beside the events.

    ``wall_s``, ``cpu_s`` (whole process) and ``pipeline_cpu_s`` (the processing thread) are seconds;
    ``rss_mb`` is the resident set in MiB (1 MiB = 2**20 bytes), NaN where the system does not tell.
    ``refused`` counts the crops that were not classified, for each reason. ``interpreter`` runs the classifier.
    """

    frames: int
    dropped: int
    faces: int
    events: int
    wall_s: float
    cpu_s: float
    pipeline_cpu_s: float
    rss_mb: float
    refused: dict[str, int] = field(default_factory=dict)
    interpreter: InterpreterInfo | None = None
    stages: dict[str, StageLatency] = field(default_factory=dict)


HAAR_MARGIN = 1.08
"""Side of the crop over side of the Haar box: the cascade's box is about 0.93 of a FER2013 crop's width."""


@dataclass(frozen=True, slots=True)
class CropSpec:
    """The crop that a model takes: ``height`` x ``width`` pixels, ``margin`` times the side of the box."""

    height: int
    width: int
    margin: float = HAAR_MARGIN


@dataclass(frozen=True, slots=True)
class Search:
    """Where and how a detector searches a frame.

    ``track_id`` is the track that is searched for, None for a tile of the whole frame; ``known`` says that it is
    confirmed, so that weaker evidence is enough. ``hidden`` are boxes that are left out, since other searches cover
    them.
    """

    region: Box
    """In pixels of the frame; may reach beyond it."""
    scale: float = 1.0
    """The region is searched at this scale; below 1 is faster and misses small faces."""
    min_face: float | None = None
    """Smallest face in pixels of the frame; None: as the detector's settings say."""
    max_face: float | None = None
    """Largest face in pixels of the frame; None: no limit."""
    track_id: int | None = None
    known: bool = False
    hidden: tuple[Box, ...] = ()

    @classmethod
    def whole(cls, gray: UInt8Array, scale: float = 1.0) -> Search:
        """Return the search of all of ``gray``, uint8 [H, W]."""
        check_gray(gray)
        height, width = gray.shape
        return cls(Box(0, 0, width, height), scale)

    @property
    def megapixels(self) -> float:
        """Pixels searched, in millions."""
        return self.region.area * self.scale**2 / 1e6


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What came out of one frame: the confirmed tracks in sight, and the events it caused."""

    frame: Frame
    tracks: tuple[TrackedEmotion, ...]
    events: tuple[EmotionEvent, ...]
