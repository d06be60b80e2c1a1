"""Settings of the runtime: frozen dataclasses read from one TOML file, strictly.

Precedence: flags > environment (``FER_EDGE_<SECTION>_<KEY>``) > file > the defaults below.
"""

from __future__ import annotations

import os
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fer_edge import strict_toml
from fer_edge.errors import ConfigError

ENVIRONMENT_PREFIX = "FER_EDGE_"

STILL_SEARCH_PX = 1280
"""Longer side in pixels to which a still picture is reduced for the search: a phone's 12 megapixels would take many
seconds, and a face that is smaller than the detector's least there would give the classifier little to see."""
STILL_MIN_NEIGHBORS = 6
"""Stricter than in a stream, where a false face is dropped for not being found again in the next frames."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """``[detector]``: how the Haar cascade looks for faces (values of OpenCV's detectMultiScale)."""

    min_face: int = 48
    """Smallest face looked for in a full search, pixels of the frame."""
    scale_factor: float = 1.15
    """Ratio between the sizes tried, above 1; nearer 1 finds more and costs more."""
    min_neighbors: int = 4
    """Overlapping hits that make a face; higher means fewer false faces and more missed ones."""

    def __post_init__(self) -> None:
        _require(8 <= self.min_face <= 8192, "min_face must be between 8 and 8192 pixels")
        _require(1.01 <= self.scale_factor <= 2.0, "scale_factor must be between 1.01 and 2")
        _require(0 <= self.min_neighbors <= 50, "min_neighbors must be between 0 and 50")


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """``[schedule]``: when the whole frame is searched, and how the region around a known face is."""

    full_search_every_s: float = 1.0
    """Longest time without a search of the whole frame while faces are tracked, seconds."""
    full_search_share: float = 0.5
    """Share of the time, above 0 up to 1, that searches of the whole frame may take on a slow machine."""
    full_search_width: int = 320
    """Width in pixels to which the frame is reduced for a search of the whole of it."""
    face_px: int = 36
    """Width in pixels to which a known face is reduced before it is looked for again."""
    region_margin: float = 2.0
    """Side of the region around a face just seen, in face widths."""
    region_growth: float = 2.0
    """Face widths by which that side grows for each second that the face was not seen."""

    def __post_init__(self) -> None:
        _require(self.full_search_every_s >= 0, "full_search_every_s must not be negative")
        _require(0 < self.full_search_share <= 1, "full_search_share must be above 0 and at most 1")
        _require(48 <= self.full_search_width <= 16384, "full_search_width must be between 48 and 16384 pixels")
        # The cascade's own window is 24 pixels: a face scaled below it is never found.
        _require(24 <= self.face_px <= 500, "face_px must be between 24 and 500")
        _require(1.2 <= self.region_margin <= 100, "region_margin must be between 1.2 and 100")
        _require(0 <= self.region_growth <= 1000, "region_growth must be between 0 and 1000")


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """``[tracking]``: when a face becomes a track, how it is smoothed, and when it has left."""

    confirm_hits: int = 3
    """Times a face must be found before its track is told of."""
    left_after_s: float = 1.0
    """Seconds without being found after which a track has left."""
    coast_s: float = 0.3
    """Seconds for which a track that is not found is still shown, at the place where it should be."""
    smoothing_s: float = 0.5
    """Time constant of the exponential smoothing of the probabilities, seconds; 0 is off."""

    def __post_init__(self) -> None:
        _require(self.confirm_hits >= 1, "confirm_hits must be at least 1")
        _require(self.left_after_s >= 0, "left_after_s must not be negative")
        _require(self.coast_s >= 0, "coast_s must not be negative")
        _require(self.smoothing_s >= 0, "smoothing_s must not be negative")


@dataclass(frozen=True, slots=True)
class EmotionSettings:
    """``[emotion]``: when a track becomes an emotion, when it changes, and how often it is repeated."""

    enter: float = 0.5
    """Smoothed probability, 0..1, from which a track takes an emotion."""
    exit: float = 0.35
    """Smoothed probability, 0..1 and at most ``enter``, below which a track loses its emotion."""
    lead: float = 0.15
    """Probability by which another emotion must lead to replace the one a track has."""
    min_dwell_s: float = 0.5
    """Seconds for which that must hold before the emotion changes."""
    heartbeat_s: float = 0.0
    """Seconds between heartbeat events; 0 is off."""

    def __post_init__(self) -> None:
        _require(0 < self.enter <= 1, "enter must be above 0 and at most 1")
        _require(0 <= self.exit <= self.enter, "exit must be between 0 and enter")
        _require(0 <= self.lead <= 1, "lead must be between 0 and 1")
        _require(self.min_dwell_s >= 0, "min_dwell_s must not be negative")
        _require(self.heartbeat_s >= 0, "heartbeat_s must not be negative")


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """``[source]``: where frames come from, and how they are turned before anything looks at them."""

    uris: tuple[str, ...] = ()
    """Sources as the command line names them: ``demo``, a file, a folder, ``0``; several run side by side."""
    width: int | None = None
    """Width in pixels asked of a camera; it may give its nearest. Files keep their own."""
    height: int | None = None
    """Height in pixels asked of a camera; it may give its nearest. Files keep their own."""
    fps: float | None = None
    """Frames per second asked of a camera, and taken for images and for videos that do not tell theirs."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees clockwise by which each frame is turned."""
    mirror: bool = False
    """Swap left and right, after turning."""
    max_fps: float | None = None
    """Process at most this many frames for each second of the source's time, and skip the others."""
    realtime: bool = False
    """Pace files as a camera would, the newest frame winning."""

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("height", self.height)):
            _require(value is None or 16 <= value <= 16384, f"{name} must be between 16 and 16384 pixels")
        for name, rate in (("fps", self.fps), ("max_fps", self.max_fps)):
            _require(rate is None or 0.01 <= rate <= 1000, f"{name} must be between 0.01 and 1000")


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """``[output]``: what is written, and where; nothing but events on the console unless named here."""

    events: str | None = None
    """File to which events are appended as JSON lines; ``-`` is standard output."""
    trace: str | None = None
    """File for one JSON object for each processed frame."""
    stats: str | None = None
    """File for the figures of the whole run, written at its end."""
    annotate: str | None = None
    """Video (.mp4) with boxes and labels drawn in. This records people: it is off unless named."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """``[model]``: which classifier runs."""

    bundle: str | None = None
    """Folder or zip of a model bundle; without it, the one that comes with the package."""
    variant: str = "int8"
    """Name of the bundle's variant."""


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Everything ``fer-edge run`` can be told; one field for each TOML table."""

    source: SourceSettings = field(default_factory=SourceSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    emotion: EmotionSettings = field(default_factory=EmotionSettings)

    def for_still(self) -> RuntimeSettings:
        """These settings for a source of one picture: no second frame comes to confirm a face or to find a small one.

        So a face is told of at once, and the picture is searched as carefully as ``fer-edge predict`` does.
        """
        neighbors = max(self.detector.min_neighbors, STILL_MIN_NEIGHBORS)
        width = max(self.schedule.full_search_width, STILL_SEARCH_PX)
        return replace(
            self,
            detector=replace(self.detector, min_neighbors=neighbors),
            schedule=replace(self.schedule, full_search_width=width),
            tracking=replace(self.tracking, confirm_hits=1),
        )


def load_settings(
    path: Path | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> RuntimeSettings:
    """Merge defaults, the TOML file at ``path``, the environment and ``overrides`` (flags), the last one winning.

    Raises ConfigError with the key's path and the allowed values.
    """
    settings = RuntimeSettings()
    where = str(path) if path else "defaults"
    if path is not None:
        settings = strict_toml.parse(RuntimeSettings, strict_toml.read_toml(path), where)
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
        merged[section] = {**merged.get(section, {}), **values}
    return merged


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
