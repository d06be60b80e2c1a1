"""Settings of the runtime: frozen dataclasses read from one TOML file, strictly.

Precedence: flags > environment (``FER_EDGE_<SECTION>_<KEY>``) > file > the defaults below.
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
"""Side in pixels of the window that the Haar cascade was trained on: no face reduced below it can be found."""

YUNET_WINDOW = 36
"""Width in pixels to which the smallest face looked for is reduced for YuNet: it finds as many of FER2013's faces at
36 as the cascade at 24."""
YUNET_MIN_PX = 10
"""Shorter side in pixels of the smallest picture that YuNet searches; it finds no smaller face."""
YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_PAGE = "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet"
"""Where OpenCV publishes the file."""

WIDEST_S = 0.5
"""Seconds without being seen after which a face is looked for, and joined to its track, no farther away."""

MOST_PIXELS = 16384
"""Longest side of a picture that settings may name."""

MOST_THREADS = 64
"""Threads that settings may ask for: beyond a machine's cores they only take memory."""

LEAST_BUDGET = 0.01
"""Least share of a core's time for the search for faces: below it, nobody would ever be found."""

PixelFormatName = Literal[
    "auto", "MJPG", "JPEG", "YUYV", "YVYU", "UYVY", "VYUY", "NV12", "NV21", "NV16", "YU12", "YV12", "422P",
    "GREY", "Y10", "Y12", "Y16", "RGB3", "BGR3",
]  # fmt: skip
"""Formats of a V4L2 camera's pictures, by the four letters that ``v4l2-ctl --list-formats`` shows."""

STILL_SEARCH_PX = 1280
"""Longer side in pixels to which a still picture is reduced for the search: a phone's 12 megapixels would take many
seconds, and a face that is smaller than the detector's least there would give the classifier little to see."""
STILL_SCALE_FACTOR = 1.1
"""Finer than in a stream, which gives a face that falls between two sizes another chance with every frame."""
STILL_MIN_NEIGHBORS = 6
"""Stricter than in a stream, where a false face is dropped for not being found again in the next frames."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """``[detector]``: what looks for faces, and how.

    >>> DetectorSettings(min_face=64).kind
    'haar'
    """

    kind: Literal["haar", "yunet"] = "haar"
    """``haar`` is OpenCV's cascade for upright frontal faces, ``yunet`` a small network that also finds turned ones and
    needs ``model``."""
    model: str | None = None
    """YuNet's file, such as ``face_detection_yunet_2023mar.onnx``; for ``yunet`` alone."""
    min_face: int = 48
    """Smallest face looked for in a full search, pixels of the frame; what ``full_search_width`` reduces below 24
    (``yunet``: 36) is not found."""
    min_score: float = 0.7
    """``yunet``: least score of a face, 0..1; higher means fewer false faces and more missed ones."""
    known_min_score: float = 0.5
    """``yunet``: least score where a known face is looked for again: it is likely to be there."""
    max_overlap: float = 0.3
    """``yunet``: of two faces that overlap by more (intersection over union, 0..1), the surer one counts."""
    scale_factor: float = 1.15
    """``haar``: ratio between the sizes tried, above 1; nearer 1 finds more and costs more."""
    min_neighbors: int = 1
    """``haar``: overlapping hits that make a face; higher means fewer false faces and more missed ones. 2 or 3 without
    ``verify``."""
    known_scale_factor: float = 1.15
    """``haar``: the same ratio where a known face is looked for again; its size is known well, so few are tried."""
    known_min_neighbors: int = 1
    """``haar``: hits wanted where a known face is looked for again: it is likely to be there."""
    verify: bool = True
    """Verify by a small network that what is found and followed is a face; off, a false face may be followed for
    seconds."""
    threads: int = 1
    """Threads of OpenCV in the whole process, for searches as for resizing."""

    def __post_init__(self) -> None:
        if self.kind == "yunet":
            require(self.model is not None, f'kind = "yunet" needs model, the file {YUNET_FILE} from {YUNET_PAGE}')
        else:
            require(self.model is None, 'model is YuNet\'s file: set kind = "yunet" too, or take model out')
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
    """``[schedule]``: where and how often faces are looked for, and what that may cost.

    >>> ScheduleSettings(budget_share=0.1).budget_share
    0.1
    """

    acquire_within_s: float = 1.0
    """Seconds within which a new face anywhere is found, as far as the budget allows; the whole frame is searched in
    parts over this time. 0 searches the whole of every frame at once."""
    budget_share: float = 0.5
    """Share of one core's time, 0.01 to 1, that the search for faces may take on average."""
    budget_ms: float | None = None
    """Most milliseconds that the searches of one frame should take; a single search may take more."""
    full_search_width: int = 320
    """Width in pixels to which the frame is reduced for a search of the whole of it; its longer side where
    ``acquire_within_s`` is 0. With ``yunet``, 1.5 times as much."""
    face_px: int = 48
    """Width in pixels to which a known face is reduced before it is looked for again. With ``yunet``, 1.5 times as
    much."""
    look_every_s: float = 0.3
    """Seconds between two searches for a face that looks as it did; another one is searched for at once."""
    still_look_s: float = 10.0
    """Seconds between two looks where nothing moves."""
    motion_threshold: float = 4.0
    """Grey levels by which a part of the picture must change to count as moving; 0 looks at what stands still too."""
    region_margin: float = 1.5
    """Side of the region around a face just seen, in face widths."""
    region_growth: float = 4.0
    """Face widths by which that side grows for each second that the face was not seen, for half a second."""

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
    """``[tracking]``: when a face becomes a track, and when it has left."""

    confirm_hits: int = 2
    """Times a face must be found before its track is told of."""
    left_after_s: float = 1.0
    """Seconds without being found after which a track has left."""
    coast_s: float = 0.3
    """Seconds for which a track that is not found is still shown, at the place where it should be."""

    def __post_init__(self) -> None:
        require(self.confirm_hits >= 1, "confirm_hits must be at least 1")
        require(self.left_after_s >= 0, "left_after_s must not be negative")
        require(self.coast_s >= 0, "coast_s must not be negative")


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """``[quality]``: which crops are not classified; a least value of 0 and a largest one of 1 or 2 refuse none."""

    min_face_px: int = 20
    """Least side of a face's box, pixels of the frame."""
    min_inside: float = 0.6
    """Least share of the crop, 0..1, that lies in the frame."""
    max_overexposed: float = 0.5
    """Largest share of pixels, 0..1, that are burnt out."""
    min_contrast: float = 12.0
    """Least standard deviation of the pixels, grey levels 0..128; a dark face has little, one in fog too."""
    min_sharpness: float = 0.55
    """Least sharpness, 0..2: a face out of focus or in motion has less."""
    max_sharpness: float = 1.5
    """Largest sharpness, 0..2: sensor noise has more (white noise 1.73)."""

    def __post_init__(self) -> None:
        require(0 <= self.min_face_px <= 8192, "min_face_px must be between 0 and 8192 pixels")
        require(0 <= self.min_inside <= 1, "min_inside must be between 0 and 1")
        require(0 <= self.max_overexposed <= 1, "max_overexposed must be between 0 and 1")
        require(0 <= self.min_contrast <= 128, "min_contrast must be between 0 and 128")
        require(0 <= self.min_sharpness <= 2, "min_sharpness must be between 0 and 2")
        require(self.min_sharpness <= self.max_sharpness <= 2, "max_sharpness must be between min_sharpness and 2")


@dataclass(frozen=True, slots=True)
class EmotionSettings:
    """``[emotion]``: when a track becomes an emotion, when it changes, and how often it is repeated."""

    smoothing_s: float = 0.6
    """Time constant with which readings fade, seconds; 0 is off. A change is followed sooner than that, since readings
    become frequent with it."""
    classify_every_s: float = 0.3
    """Longest time between two readings of a face whose readings agree, seconds; 0 reads each face in each frame."""
    enter: float = 0.4
    """Smoothed probability, 0..1, from which a track takes an emotion."""
    exit: float = 0.25
    """Smoothed probability, 0..1 and at most ``enter``, below which a track loses its emotion."""
    lead: float = 0.15
    """Probability by which another emotion must lead to replace the one a track has."""
    min_dwell_s: float = 0.2
    """Seconds for which that must hold before the emotion changes."""
    heartbeat_s: float = 0.0
    """Seconds between heartbeat events; 0 is off."""

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
    """``[source]``: where frames come from, and how they are turned before anything looks at them.

    >>> SourceSettings(uris=("demo",), rotate=90).rotate
    90
    """

    uris: tuple[str, ...] = ()
    """Sources as the command line names them: ``demo``, a file, a folder, ``0``; several run side by side."""
    width: int | None = None
    """Width in pixels asked of a camera; it may give its nearest. Files keep their own."""
    height: int | None = None
    """Height in pixels asked of a camera; it may give its nearest. Files keep their own."""
    fourcc: PixelFormatName = "auto"
    """Format of the pictures of a USB camera: ``auto`` is MJPG for more than 640x480 pixels, where the camera has it,
    else what its driver is set to."""
    fps: float | None = None
    """Frames per second asked of a camera, and taken for images and for videos that do not tell theirs."""
    sensor_mode: str = "full"
    """Sensor mode of a picamera2 camera: ``full`` is the smallest that sees the whole field of view at ``fps``,
    ``auto`` the one that picamera2 chooses for the picture's size, which may see less; ``1640x1232`` is that one."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees clockwise by which each frame is turned."""
    mirror: bool = False
    """Swap left and right, after turning."""
    region: tuple[float, ...] = ()
    """``[x, y, width, height]`` of the turned picture that is looked at: pixels, or shares where all are at most 1.
    The rest does not exist for the program: boxes count from the region's corner. Empty is the whole picture."""
    mask: tuple[tuple[float, ...], ...] = ()
    """Zones blacked out before anything looks: ``[x, y, width, height]`` or a polygon ``[x1, y1, x2, y2, x3, y3, …]``,
    in pixels or shares of the turned picture, whatever ``region`` is."""
    low_light: Literal["off", "clahe", "gamma"] = "off"
    """Raises the contrast of dark pictures: ``clahe`` from tile to tile, ``gamma`` of the whole. The classifier sees
    the result."""
    exposure_us: int | None = None
    """Exposure time in microseconds, for cameras; without it, automatic."""
    gain: float | None = None
    """Analogue gain of a picamera2 camera (1 is none), or the gain of a USB camera in its own units; else automatic."""
    ev: float | None = None
    """Exposure compensation in stops, for picamera2 cameras."""
    autofocus: bool | None = None
    """Continuous autofocus on or off, for cameras that have it; without it, as the camera does by itself."""
    lens_position: float | None = None
    """Fixed focus of a picamera2 camera in dioptres: 0 is far away, 10 is 10 cm."""
    timeout_s: float = 10.0
    """Seconds without a frame after which a camera or stream is lost; opening one may take three times as long."""
    max_fps: float | None = None
    """Process at most this many frames for each second of the source's time, and skip the others."""
    realtime: bool = False
    """Pace files as a camera would, the newest frame winning; the built-in scene then has no end."""

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
            require(len(zone) == 4 or polygon, "mask: a zone must be [x, y, width, height] or 3 points or more")
            _check_zone("mask", zone)
        require(self.exposure_us is None or 1 <= self.exposure_us <= 10**9, "exposure_us must be between 1 and 10^9")
        require(self.gain is None or 0 <= self.gain <= 10_000, "gain must be between 0 and 10000")
        require(self.ev is None or -8 <= self.ev <= 8, "ev must be between -8 and 8")
        require(self.lens_position is None or 0 <= self.lens_position <= 32, "lens_position must be between 0 and 32")
        require(not (self.autofocus and self.lens_position is not None), "lens_position needs autofocus off")
        require(0.1 <= self.timeout_s <= 3600, "timeout_s must be between 0.1 and 3600 seconds")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """``[model]``: which classifier runs."""

    bundle: str | None = None
    """Folder or zip of a model bundle; without it, the one that comes with the package."""
    variant: str = "int8"
    """Name of the bundle's variant."""
    interpreter: Literal["auto", "ai-edge-litert", "tflite-runtime"] = "auto"
    """What runs it: LiteRT, or tflite-runtime (extra ``legacy``); ``auto`` is LiteRT where that is installed."""
    threads: int = 1
    """Threads of one inference; more helped nothing at this size of model."""

    def __post_init__(self) -> None:
        require(1 <= self.threads <= MOST_THREADS, f"threads must be between 1 and {MOST_THREADS}")


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Everything ``fer-edge run`` can be told; one field for each TOML table.

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
        """These settings for a single picture: no second frame comes to confirm a face or to find a small one.

        So a face is told of at once, and the whole picture is searched carefully: by ``fer-edge run`` for a source of
        one picture, and by ``fer-edge predict``.
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
    """Merge defaults, the TOML file at ``path``, the environment and ``overrides`` (flags), the last one winning.

    An override that is None was not given.
    Raises ConfigError with the key's path and the allowed values.

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
    """Variables ``FER_EDGE_<SECTION>_<KEY>``. Raises ConfigError for a section that does not exist.

    Names without a second part, such as FER_EDGE_DATA, are no settings.
    """
    table: dict[str, dict[str, Any]] = {}
    sections = typing.get_type_hints(RuntimeSettings)
    for name, text in sorted(environment.items()):
        section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if not name.startswith(ENVIRONMENT_PREFIX) or not key:
            continue
        if section not in sections:
            raise ConfigError(f"environment: {name}: no settings called {section}; there are {', '.join(sections)}")
        hint = typing.get_type_hints(sections[section]).get(key)
        table.setdefault(section, {})[key] = _environment_value(text, hint)
    return table


def _environment_value(text: str, hint: Any) -> Any:
    """``text`` as a TOML literal where it is one and the setting takes it, else as a plain string.

    ``7`` is a string where one is wanted, and a list of one where a list is: FER_EDGE_SOURCE_URIS=0.
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
    """Shares of the picture where all are at most 1, else whole pixels; a rectangle (4 values) is not empty."""
    require(all(0 <= value <= MOST_PIXELS for value in zone), f"{name} must hold numbers from 0 to {MOST_PIXELS}")
    shares = max(zone) <= 1
    whole = all(value == int(value) for value in zone)
    require(shares or whole, f"{name} must hold whole pixels, or shares that are all at most 1")
    if len(zone) == 4:
        require(zone[2] > 0 and zone[3] > 0, f"{name} must be wider and higher than 0")
