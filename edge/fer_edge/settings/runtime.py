"""All settings of ``fer-edge run``, loaded from one TOML file, the environment and the command line."""

import os
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fer_edge.errors import ConfigError
from fer_edge.settings.base import Settings, decode, to_table
from fer_edge.settings.pipeline import (
    DetectorSettings,
    EmotionSettings,
    PresenceSettings,
    QualitySettings,
    ScheduleSettings,
    TrackingSettings,
)
from fer_edge.settings.service import (
    ChipSettings,
    MqttSettings,
    OutputSettings,
    RecoverySettings,
    WebhookSettings,
    WebSettings,
)
from fer_edge.settings.source import CameraSettings, SourceSettings, split_name
from fer_edge.settings.toml_files import read_toml
from fer_edge.settings.update import UpdateSettings
from fer_edge.settings.values import Name, Threads

ENVIRONMENT_PREFIX = "FER_EDGE_"

STILL_SEARCH_PX = 1280
"""Longer side in pixels to which a still image is reduced for detection. Searching a 12-megapixel photo at full size
would take many seconds, and faces too small to be detected after the reduction have too few pixels to classify."""
STILL_SCALE_FACTOR = 1.1
"""Finer than for a stream, where a face that falls between two scales can still be detected in a later frame."""
STILL_MIN_NEIGHBORS = 6
"""Stricter than for a stream, where a false face is discarded if the next frames do not confirm it."""

RENAMED = {
    "output.events_keep": "events_max_rotated",
    "output.events_gather_s": "events_max_buffered_s",
    "output.events_sync_s": "events_max_unsynced_s",
    "output.hold": "max_queued_events",
    "detector.min_face": "min_face_px",
    "detector.max_overlap": "max_iou",
    "schedule.acquire_within_s": "max_acquire_s",
    "schedule.budget_ms": "budget_max_ms",
    "schedule.full_search_width": "full_search_width_px",
    "schedule.look_every_s": "search_interval_s",
    "schedule.still_look_s": "still_search_interval_s",
    "tracking.confirm_hits": "min_hits",
    "tracking.left_after_s": "max_missed_s",
    "tracking.coast_s": "max_coast_s",
    "emotion.classify_every_s": "classify_interval_s",
    "emotion.lead": "min_lead",
    "recovery.retry_after_s": "retry_min_s",
    "recovery.retry_most_s": "retry_max_s",
    "mqtt.hold": "max_queued_messages",
    "webhook.retry_most_s": "retry_max_s",
    "webhook.hold": "max_queued_events",
    "chip.look_every_s": "poll_interval_s",
    "chip.least_share": "min_budget_share",
}
"""Keys of earlier versions, with their new names. They are refused, and the error names the new key."""


class ModelSettings(Settings, frozen=True):
    """``[model]``: the classifier and its inference engine."""

    bundle: Annotated[
        str | None,
        Meta(
            description="Folder or zip file of a model bundle. If not set: the bundle in the package.",
            examples=["models/fer-edge-s"],
        ),
    ] = None
    variant: Annotated[str, Meta(description="Name of the bundle's variant to use.")] = "int8"
    interpreter: Annotated[
        Literal["auto", "ai-edge-litert", "tflite-runtime"],
        Meta(
            description="Inference engine: LiteRT or tflite-runtime (extra `legacy`). `auto` prefers LiteRT if it is"
            " installed."
        ),
    ] = "auto"
    threads: Annotated[
        Threads,
        Meta(description="Number of threads per inference. More than one did not make models of this size faster."),
    ] = 1


class RuntimeSettings(Settings, frozen=True):
    """All settings of ``fer-edge run``; one field for each TOML table.

    >>> settings = RuntimeSettings(detector=DetectorSettings(min_face_px=64))
    >>> settings.detector.min_face_px, settings.model.variant
    (64, 'int8')
    """

    source: SourceSettings = SourceSettings()
    cameras: dict[Name, CameraSettings] = msgspec.field(default_factory=dict)
    model: ModelSettings = ModelSettings()
    output: OutputSettings = OutputSettings()
    detector: DetectorSettings = DetectorSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    tracking: TrackingSettings = TrackingSettings()
    quality: QualitySettings = QualitySettings()
    emotion: EmotionSettings = EmotionSettings()
    presence: PresenceSettings = PresenceSettings()
    recovery: RecoverySettings = RecoverySettings()
    mqtt: MqttSettings = MqttSettings()
    webhook: WebhookSettings = WebhookSettings()
    web: WebSettings = WebSettings()
    chip: ChipSettings = ChipSettings()
    update: UpdateSettings = UpdateSettings()

    @property
    def uris(self) -> tuple[str, ...]:
        """The URIs of all sources, without their names."""
        own = [camera.uri for camera in self.cameras.values() if isinstance(camera.uri, str)]
        return (*(split_name(text)[1] for text in self.source.uris), *own)

    @property
    def records_pictures(self) -> bool:
        """Whether pictures of the people in view are written to a file."""
        return self.output.annotate is not None

    @property
    def shows_pictures(self) -> bool:
        """Whether pictures of the people in view are served on the status page."""
        return self.web.enabled and self.web.preview

    def for_still(self) -> "RuntimeSettings":
        """Return a copy of the settings for a still image, where no later frame can confirm or detect a face.

        A face is reported after one detection, and the whole image is searched at a higher resolution with stricter
        detection. Used by ``fer-edge predict``, and by ``fer-edge run`` if the source is one image.
        """
        factor = min(self.detector.scale_factor, STILL_SCALE_FACTOR)
        neighbors = max(self.detector.min_neighbors, STILL_MIN_NEIGHBORS)
        width = max(self.schedule.full_search_width_px, STILL_SEARCH_PX)
        replace = msgspec.structs.replace
        return replace(
            self,
            detector=replace(self.detector, scale_factor=factor, min_neighbors=neighbors),
            schedule=replace(self.schedule, full_search_width_px=width, max_acquire_s=0.0),
            tracking=replace(self.tracking, min_hits=1),
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

    >>> load_settings(overrides={"detector": {"min_face_px": 64}}, environment={}).detector.min_face_px
    64
    """
    settings = RuntimeSettings()
    if path is not None:
        settings = _decode(read_toml(Path(path)), str(path))
    for origin, layer in (("environment", _from_environment(environment)), ("command line", overrides or {})):
        if layer:
            settings = _decode(_merge(to_table(settings), layer), origin)
    return settings


def _decode(table: Mapping[str, Any], where: str) -> RuntimeSettings:
    for path, new in RENAMED.items():
        section, _, key = path.partition(".")
        if isinstance(values := table.get(section), Mapping) and key in values:
            raise ConfigError(f"{where}: {path} was renamed: use {section}.{new}")
    return decode(RuntimeSettings, table, where)


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the values of the variables ``FER_EDGE_<SECTION>_<KEY>`` by section and key.

    Names without a key, such as FER_EDGE_DATA, are ignored.

    Raises:
        ConfigError: If there is no such setting.
    """
    table: dict[str, dict[str, Any]] = {}
    sections = typing.get_type_hints(RuntimeSettings)
    del sections["cameras"]  # their names may contain underscores
    for name, text in sorted(environment.items()):
        section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if not name.startswith(ENVIRONMENT_PREFIX) or not key:
            continue
        hints = typing.get_type_hints(sections[section]) if section in sections else {}
        if key not in hints and f"{section}.{key}" not in RENAMED:
            raise ConfigError(f"environment: {name} is not a setting; {_nearest_variable(name, sections)}")
        table.setdefault(section, {})[key] = _environment_value(text, hints.get(key))
    return table


def _nearest_variable(name: str, sections: Mapping[str, Any]) -> str:
    import difflib

    known = [f"{section}_{key}".upper() for section, kind in sections.items() for key in typing.get_type_hints(kind)]
    near = difflib.get_close_matches(name.removeprefix(ENVIRONMENT_PREFIX), known, n=1)
    return f"did you mean {ENVIRONMENT_PREFIX}{near[0]}?" if near else "they are listed by fer-edge run --print-schema"


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
    merged = dict(base)
    for section, values in layer.items():
        given = {key: value for key, value in values.items() if value is not None}
        merged[section] = {**merged.get(section, {}), **given}
    return merged
