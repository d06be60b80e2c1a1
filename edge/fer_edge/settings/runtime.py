"""Runtime settings: frozen dataclasses, loaded from one TOML file.

Precedence: flags > environment (``FER_EDGE_<SECTION>_<KEY>``) > file > the defaults below. Unknown keys and invalid
values raise ``ConfigError``. An optional setting is None if it is not set.
"""

from __future__ import annotations

import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fer_edge.errors import ConfigError
from fer_edge.settings import strict_toml
from fer_edge.settings.service import (
    ChipSettings,
    MqttSettings,
    OutputSettings,
    RecoverySettings,
    WebhookSettings,
    WebSettings,
    require,
)

ENVIRONMENT_PREFIX = "FER_EDGE_"

CASCADE_WINDOW = 24
"""Side in pixels of the Haar cascade's detection window, hence of the smallest face that it can detect."""

YUNET_WINDOW = 36
"""Width in pixels to which the smallest face to detect is reduced for YuNet. At 36 pixels YuNet detects as many faces
of FER2013 as the Haar cascade at 24."""
YUNET_MIN_PX = 10
"""Minimum shorter side, in pixels, of an image that YuNet searches. It does not detect smaller faces."""
YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_PAGE = "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet"
"""OpenCV's download page of the file."""

WIDEST_S = 0.5
"""Seconds since a face was last located after which its search region and its association distance stop growing."""

MOST_PIXELS = 16384
"""Maximum side of an image, in pixels, that settings accept."""

MOST_THREADS = 64
"""Maximum number of threads that settings accept. Threads beyond the number of cores only use memory."""

LEAST_BUDGET = 0.01
"""Minimum share of one core's time for face detection. With less, faces would not be detected."""

PixelFormatName = Literal[
    "auto", "MJPG", "JPEG", "YUYV", "YVYU", "UYVY", "VYUY", "NV12", "NV21", "NV16", "YU12", "YV12", "422P",
    "GREY", "Y10", "Y12", "Y16", "RGB3", "BGR3",
]  # fmt: skip
"""Pixel formats of a V4L2 camera, as named by ``v4l2-ctl --list-formats``."""

STILL_SEARCH_PX = 1280
"""Longer side in pixels to which a still image is reduced for detection. Searching a 12-megapixel photo at full size
would take many seconds, and faces too small to be detected after the reduction have too few pixels to classify."""
STILL_SCALE_FACTOR = 1.1
"""Finer than for a stream, where a face that falls between two scales can still be detected in a later frame."""
STILL_MIN_NEIGHBORS = 6
"""Stricter than for a stream, where a false face is discarded if the next frames do not confirm it."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """``[detector]``: the face detector and its parameters.

    >>> DetectorSettings(min_face=64).kind
    'haar'
    """

    kind: Literal["haar", "yunet"] = "haar"
    """``haar`` is OpenCV's Haar cascade for upright frontal faces. ``yunet`` is a small neural network that also
    detects turned faces; it requires ``model``."""
    model: str | None = None
    """``yunet``: path of the model file, such as ``face_detection_yunet_2023mar.onnx``."""
    min_face: int = 48
    """Minimum face width in a search of the whole frame, in pixels of the frame. Faces that are smaller than 24 pixels
    (``yunet``: 36) after the reduction to ``full_search_width`` are not detected."""
    min_score: float = 0.7
    """``yunet``: minimum score of a face, 0.05..1. A higher value gives fewer false and more missed faces."""
    known_min_score: float = 0.5
    """``yunet``: minimum score, 0.05..1, when searching near a known face, where a face is likely."""
    max_overlap: float = 0.3
    """``yunet``: non-maximum suppression threshold (intersection over union, 0..1). Of two faces that overlap by more,
    only the one with the higher score is kept."""
    scale_factor: float = 1.15
    """``haar``: ratio between successive scales, 1.01..2. A value closer to 1 detects more faces and takes longer."""
    min_neighbors: int = 1
    """``haar``: minimum number of overlapping detections per face. A higher value gives fewer false and more missed
    faces. Use 2 or 3 if ``verify`` is off."""
    known_scale_factor: float = 1.15
    """``haar``: ``scale_factor`` when searching near a known face. Its size is known, so only a few scales are
    searched."""
    known_min_neighbors: int = 1
    """``haar``: ``min_neighbors`` when searching near a known face, where a face is likely."""
    verify: bool = True
    """Verify detected and tracked faces with a small neural network. If off, false faces may be tracked for seconds."""
    threads: int = 1
    """Number of OpenCV threads in the process, used for detection and for resizing."""

    def __post_init__(self) -> None:
        if self.kind == "yunet":
            require(self.model is not None, f'kind = "yunet" needs model: the path of {YUNET_FILE}, from {YUNET_PAGE}')
        else:
            require(self.model is None, 'model is for YuNet only: set kind = "yunet", or remove model')
        require(8 <= self.min_face <= 8192, "min_face must be between 8 and 8192 pixels")
        require(0.05 <= self.min_score <= 1, "min_score must be between 0.05 and 1")
        require(0.05 <= self.known_min_score <= 1, "known_min_score must be between 0.05 and 1")
        require(0 <= self.max_overlap <= 1, "max_overlap must be between 0 and 1")
        require(1.01 <= self.scale_factor <= 2.0, "scale_factor must be between 1.01 and 2")
        require(0 <= self.min_neighbors <= 50, "min_neighbors must be between 0 and 50")
        require(1.01 <= self.known_scale_factor <= 2.0, "known_scale_factor must be between 1.01 and 2")
        require(0 <= self.known_min_neighbors <= 50, "known_min_neighbors must be between 0 and 50")
        require(1 <= self.threads <= MOST_THREADS, f"threads must be between 1 and {MOST_THREADS}")


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """``[schedule]``: where and how often to search for faces, and the CPU budget for it.

    >>> ScheduleSettings(budget_share=0.1).budget_share
    0.1
    """

    acquire_within_s: float = 1.0
    """Time in seconds within which a new face anywhere in the frame should be detected, if the budget allows it. The
    frame is searched tile by tile over this time. 0 searches the whole of every frame."""
    budget_share: float = 0.5
    """Average share of one core's time available to face detection, 0.01..1."""
    budget_ms: float | None = None
    """Time budget in milliseconds for the searches of one frame; a single search may exceed it. None: no limit."""
    full_search_width: int = 320
    """Width in pixels to which the frame is reduced for a search of the whole frame; the longer side if
    ``acquire_within_s`` is 0. YuNet uses 1.5 times this value."""
    face_px: int = 48
    """Width in pixels to which a known face is reduced for the search around it. YuNet uses 1.5 times this value."""
    look_every_s: float = 0.3
    """Seconds between two searches for a face whose appearance is unchanged. A face whose appearance has changed is
    searched for in the next frame."""
    still_look_s: float = 10.0
    """Seconds between two searches of a region without motion."""
    motion_threshold: float = 4.0
    """Change in grey levels above which a part of the frame counts as moving. 0 disables motion detection: regions
    without motion are searched as often as others."""
    region_margin: float = 1.5
    """Side of the search region around a face that was just located, in face widths."""
    region_growth: float = 4.0
    """Growth of that side, in face widths per second since the face was last located. It stops after half a second."""

    def __post_init__(self) -> None:
        require(0 <= self.acquire_within_s <= 3600, "acquire_within_s must be between 0 and 3600")
        require(LEAST_BUDGET <= self.budget_share <= 1, "budget_share must be between 0.01 and 1")
        require(self.budget_ms is None or self.budget_ms > 0, "budget_ms must be above 0")
        require(48 <= self.full_search_width <= 16384, "full_search_width must be between 48 and 16384 pixels")
        require(CASCADE_WINDOW <= self.face_px <= 500, f"face_px must be between {CASCADE_WINDOW} and 500")
        require(0 <= self.look_every_s <= 3600, "look_every_s must be between 0 and 3600")
        require(0 <= self.still_look_s <= 3600, "still_look_s must be between 0 and 3600")
        require(0 <= self.motion_threshold <= 255, "motion_threshold must be between 0 and 255")
        require(1.2 <= self.region_margin <= 100, "region_margin must be between 1.2 and 100")
        require(0 <= self.region_growth <= 1000, "region_growth must be between 0 and 1000")


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """``[tracking]``: when a track is confirmed, and when it ends."""

    confirm_hits: int = 2
    """Number of detections after which a track is confirmed and reported."""
    left_after_s: float = 1.0
    """Seconds of failed searches after which a track ends."""
    coast_s: float = 0.3
    """Seconds for which a track without detections is still shown, at its predicted position."""

    def __post_init__(self) -> None:
        require(self.confirm_hits >= 1, "confirm_hits must be at least 1")
        require(self.left_after_s >= 0, "left_after_s must not be negative")
        require(self.coast_s >= 0, "coast_s must not be negative")


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """``[quality]``: limits beyond which a crop is not classified.

    To disable a check, set its minimum to 0, ``max_overexposed`` to 1 or ``max_sharpness`` to 2.
    """

    min_face_px: int = 20
    """Minimum side of a face's box, in pixels of the frame."""
    min_inside: float = 0.6
    """Minimum share of the crop, 0..1, that lies within the frame."""
    max_overexposed: float = 0.5
    """Maximum share of overexposed pixels, 0..1."""
    min_contrast: float = 12.0
    """Minimum standard deviation of the pixels, in grey levels, 0..128. It is low for dark or hazy faces."""
    min_sharpness: float = 0.55
    """Minimum sharpness, 0..2. Faces out of focus or in motion have less."""
    max_sharpness: float = 1.5
    """Maximum sharpness, ``min_sharpness``..2. Crops dominated by sensor noise have more (white noise: 1.73)."""

    def __post_init__(self) -> None:
        require(0 <= self.min_face_px <= 8192, "min_face_px must be between 0 and 8192 pixels")
        require(0 <= self.min_inside <= 1, "min_inside must be between 0 and 1")
        require(0 <= self.max_overexposed <= 1, "max_overexposed must be between 0 and 1")
        require(0 <= self.min_contrast <= 128, "min_contrast must be between 0 and 128")
        require(0 <= self.min_sharpness <= 2, "min_sharpness must be between 0 and 2")
        require(self.min_sharpness <= self.max_sharpness <= 2, "max_sharpness must be between min_sharpness and 2")


@dataclass(frozen=True, slots=True)
class EmotionSettings:
    """``[emotion]``: smoothing of the probabilities, thresholds for a change of emotion, and heartbeats."""

    smoothing_s: float = 0.6
    """Time constant of the exponential smoothing of the probabilities, in seconds; 0 disables smoothing. A change takes
    effect sooner, since a changing face is classified in every frame."""
    classify_every_s: float = 0.3
    """Seconds between two classifications of a face with stable results; 0 classifies each face in each frame."""
    enter: float = 0.4
    """Minimum smoothed probability, above 0 and up to 1, for a track to take an emotion."""
    exit: float = 0.25
    """Smoothed probability, 0..``enter``, below which a track loses its emotion."""
    lead: float = 0.15
    """Margin in probability, 0..1, by which another emotion must exceed a track's current one to replace it."""
    min_dwell_s: float = 0.2
    """Seconds for which the condition for a change must hold before the emotion changes."""
    heartbeat_s: float = 0.0
    """Seconds between heartbeat events; 0 disables them."""

    def __post_init__(self) -> None:
        require(self.smoothing_s >= 0, "smoothing_s must not be negative")
        require(self.classify_every_s >= 0, "classify_every_s must not be negative")
        require(0 < self.enter <= 1, "enter must be above 0 and at most 1")
        require(0 <= self.exit <= self.enter, "exit must be between 0 and enter")
        require(0 <= self.lead <= 1, "lead must be between 0 and 1")
        require(self.min_dwell_s >= 0, "min_dwell_s must not be negative")
        require(self.heartbeat_s >= 0, "heartbeat_s must not be negative")


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """``[source]``: where frames come from, camera controls, and the preprocessing of frames.

    >>> SourceSettings(uris=("demo",), rotate=90).rotate
    90
    """

    uris: tuple[str, ...] = ()
    """Sources, in the form used on the command line: ``demo``, a file, a folder, ``0``. Several sources run in
    parallel."""
    width: int | None = None
    """Frame width in pixels to request from a camera, which may choose the nearest it supports. Ignored for files."""
    height: int | None = None
    """Frame height in pixels to request from a camera, which may choose the nearest it supports. Ignored for files."""
    fourcc: PixelFormatName = "auto"
    """Pixel format of a USB camera. ``auto`` is MJPG above 640x480 pixels if the camera supports it, otherwise the
    driver's current format."""
    fps: float | None = None
    """Frames per second to request from a camera, and to assume for images and for videos without a frame rate."""
    sensor_mode: str = "full"
    """Sensor mode of a picamera2 camera. ``full`` is the smallest mode with the full field of view at ``fps``. ``auto``
    is picamera2's choice for the frame size, which may have a smaller field of view. A size such as ``1640x1232``
    selects the mode of that size."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Clockwise rotation of each frame, in degrees."""
    mirror: bool = False
    """Swap left and right, after the rotation."""
    region: tuple[float, ...] = ()
    """Part of the frame to process, as ``[x, y, width, height]``, after ``rotate`` and ``mirror``. The values are
    fractions of the frame if all are at most 1, otherwise pixels. Boxes are relative to the region's top-left corner.
    Empty: the whole frame."""
    mask: tuple[tuple[float, ...], ...] = ()
    """Zones to black out, each as ``[x, y, width, height]`` or as a polygon ``[x1, y1, x2, y2, x3, y3, …]``. The values
    are pixels or fractions of the frame after ``rotate`` and ``mirror``, regardless of ``region``."""
    low_light: Literal["off", "clahe", "gamma"] = "off"
    """Contrast enhancement of dark frames: ``clahe`` works on each tile, ``gamma`` on the whole frame. The classifier
    receives the enhanced frame."""
    exposure_us: int | None = None
    """Exposure time of a camera in microseconds, 1..10^9. None: automatic."""
    gain: float | None = None
    """Analogue gain of a picamera2 camera (1: no gain), or gain of a USB camera in its own units. None: automatic."""
    ev: float | None = None
    """Exposure compensation of a picamera2 camera in stops, -8..8. None: the camera's default."""
    autofocus: bool | None = None
    """Continuous autofocus, for cameras that support it. None: the camera's default."""
    lens_position: float | None = None
    """Fixed focus of a picamera2 camera in dioptres, 0..32: 0 is infinity, 10 is 10 cm."""
    timeout_s: float = 10.0
    """Seconds without a frame after which a camera or stream is lost. Opening one may take three times as long."""
    max_fps: float | None = None
    """Maximum number of frames to process per second of the source's time; the others are skipped. None: no limit."""
    realtime: bool = False
    """Play files in real time like a camera, and skip frames when processing is too slow. The demo scene then runs
    indefinitely."""

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("height", self.height)):
            require(value is None or 16 <= value <= MOST_PIXELS, f"{name} must be between 16 and {MOST_PIXELS} pixels")
        for name, rate in (("fps", self.fps), ("max_fps", self.max_fps)):
            require(rate is None or 0.01 <= rate <= 1000, f"{name} must be between 0.01 and 1000")
        mode = re.fullmatch(r"full|auto|[1-9]\d{1,4}x[1-9]\d{1,4}", self.sensor_mode)
        require(mode is not None, 'sensor_mode must be "full", "auto", or a size such as "1640x1232"')
        if self.region:
            require(len(self.region) == 4, "region must be [x, y, width, height]")
            _check_zone("region", self.region)
        for zone in self.mask:
            polygon = len(zone) >= 6 and len(zone) % 2 == 0
            require(
                len(zone) == 4 or polygon, "mask: a zone must be [x, y, width, height] or a polygon of 3 or more points"
            )
            _check_zone("mask", zone)
        require(self.exposure_us is None or 1 <= self.exposure_us <= 10**9, "exposure_us must be between 1 and 10^9")
        require(self.gain is None or 0 <= self.gain <= 10_000, "gain must be between 0 and 10000")
        require(self.ev is None or -8 <= self.ev <= 8, "ev must be between -8 and 8")
        require(self.lens_position is None or 0 <= self.lens_position <= 32, "lens_position must be between 0 and 32")
        require(not (self.autofocus and self.lens_position is not None), "lens_position needs autofocus off")
        require(0.1 <= self.timeout_s <= 3600, "timeout_s must be between 0.1 and 3600 seconds")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """``[model]``: the classifier and its inference engine."""

    bundle: str | None = None
    """Folder or zip file of a model bundle. None: the bundle in the package."""
    variant: str = "int8"
    """Name of the bundle's variant to use."""
    interpreter: Literal["auto", "ai-edge-litert", "tflite-runtime"] = "auto"
    """Inference engine: LiteRT or tflite-runtime (extra ``legacy``). ``auto`` prefers LiteRT if it is installed."""
    threads: int = 1
    """Number of threads per inference. More than one did not make models of this size faster."""

    def __post_init__(self) -> None:
        require(1 <= self.threads <= MOST_THREADS, f"threads must be between 1 and {MOST_THREADS}")


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """All settings of ``fer-edge run``; one field for each TOML table.

    >>> settings = RuntimeSettings(detector=DetectorSettings(min_face=64))
    >>> settings.detector.min_face, settings.model.variant
    (64, 'int8')
    """

    source: SourceSettings = field(default_factory=SourceSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)
    emotion: EmotionSettings = field(default_factory=EmotionSettings)
    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    webhook: WebhookSettings = field(default_factory=WebhookSettings)
    web: WebSettings = field(default_factory=WebSettings)
    chip: ChipSettings = field(default_factory=ChipSettings)

    def for_still(self) -> RuntimeSettings:
        """Return a copy of the settings for a still image, where no later frame can confirm or detect a face.

        A face is reported after one detection, and the whole image is searched at a higher resolution with stricter
        detection. Used by ``fer-edge predict``, and by ``fer-edge run`` if the source is one image.
        """
        factor = min(self.detector.scale_factor, STILL_SCALE_FACTOR)
        neighbors = max(self.detector.min_neighbors, STILL_MIN_NEIGHBORS)
        width = max(self.schedule.full_search_width, STILL_SEARCH_PX)
        return replace(
            self,
            detector=replace(self.detector, scale_factor=factor, min_neighbors=neighbors),
            schedule=replace(self.schedule, full_search_width=width, acquire_within_s=0.0),
            tracking=replace(self.tracking, confirm_hits=1),
        )


def load_settings(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> RuntimeSettings:
    """Merge defaults, a TOML file, the environment and overrides; later ones take precedence.

    Args:
        path: The TOML file; None to read no file.
        overrides: Values by section and key, such as from command-line flags. Values that are None are ignored.
        environment: Environment variables, of which those named ``FER_EDGE_<SECTION>_<KEY>`` are used.

    Returns:
        The merged settings.

    Raises:
        ConfigError: If the file cannot be read, or a key or value is invalid. The message contains the key's path and
            the allowed values.

    >>> load_settings(overrides={"detector": {"min_face": 64}}, environment={}).detector.min_face
    64
    """
    settings = RuntimeSettings()
    where = str(path) if path else "defaults"
    if path is not None:
        settings = strict_toml.parse(RuntimeSettings, strict_toml.read_toml(Path(path)), where)
    for origin, layer in (("environment", _from_environment(environment)), ("command line", overrides or {})):
        if layer:
            merged = _merge(strict_toml.to_table(settings), layer)
            settings = strict_toml.parse(RuntimeSettings, merged, origin)
    return settings


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the values of the variables ``FER_EDGE_<SECTION>_<KEY>`` by section and key.

    Names without a key, such as FER_EDGE_DATA, are ignored.

    Raises:
        ConfigError: If a section does not exist.
    """
    table: dict[str, dict[str, Any]] = {}
    sections = typing.get_type_hints(RuntimeSettings)
    for name, text in sorted(environment.items()):
        section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if not name.startswith(ENVIRONMENT_PREFIX) or not key:
            continue
        if section not in sections:
            raise ConfigError(f"environment: {name}: unknown section {section}; sections: {', '.join(sections)}")
        hint = typing.get_type_hints(sections[section]).get(key)
        table.setdefault(section, {})[key] = _environment_value(text, hint)
    return table


def _environment_value(text: str, hint: Any) -> Any:
    """Convert ``text`` to a value for a setting of type ``hint``.

    A TOML literal is parsed, other text is a plain string. For a string setting ``7`` remains a string, and for a list
    setting a single value becomes a list of one, as in FER_EDGE_SOURCE_URIS=0.
    """
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        table = {}
    value = table["value"] if len(table) == 1 else text
    if hint in (str, str | None):
        return value if isinstance(value, str) else text
    if typing.get_origin(hint) is tuple and not isinstance(value, list):
        return [value if isinstance(value, str) else text]
    return value


def _merge(base: Mapping[str, Any], layer: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()}
    for section, values in layer.items():
        given = {key: value for key, value in values.items() if value is not None}
        merged[section] = {**merged.get(section, {}), **given}
    return merged


def _check_zone(name: str, zone: tuple[float, ...]) -> None:
    """Check that ``zone`` holds fractions of the frame or whole pixels, and that a rectangle (4 values) is not empty.

    Raises:
        ValueError: If it does not; the message starts with ``name``.
    """
    require(all(0 <= value <= MOST_PIXELS for value in zone), f"{name}: values must be between 0 and {MOST_PIXELS}")
    shares = max(zone) <= 1
    whole = all(value == int(value) for value in zone)
    require(shares or whole, f"{name}: values must be whole pixels, or fractions that are all at most 1")
    if len(zone) == 4:
        require(zone[2] > 0 and zone[3] > 0, f"{name}: width and height must be above 0")
