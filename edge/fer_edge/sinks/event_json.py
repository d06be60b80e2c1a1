"""The JSON of an event: ``EventJson`` defines it, and ``schema/event.schema.json`` is generated from it."""

import json
from datetime import UTC, datetime
from operator import methodcaller
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from fer_edge.settings.base import with_clean_descriptions
from fer_edge.system.clock import clock_synced
from fer_edge.types import EmotionEvent, EventKind, FaceCounts

_to_python = methodcaller("item")
"""Convert NumPy's numbers, which msgspec does not know."""

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0)]
Affect = Annotated[float, Meta(ge=-1, le=1)]


class CountsJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Totals over the interval that ends at ``mono``, summed over all faces; for the kind ``counts`` only."""

    interval_s: Annotated[float, Meta(gt=0, description="Length of the interval.")]
    appeared: Annotated[Count, Meta(description="Faces that came into view.")]
    max_at_once: Annotated[Count, Meta(description="Largest number of faces in view at the same time.")]
    emotion_s: Annotated[
        dict[str, Annotated[float, Meta(ge=0)]], Meta(description='Seconds of each emotion, "uncertain" included.')
    ]
    entered: Annotated[
        dict[str, Count] | UnsetType,
        Meta(description="Faces that came into each zone, for zones with any; absent if there are none."),
    ] = UNSET


class EventJson(msgspec.Struct, frozen=True):
    """One line of the event stream. Fields that a kind does not have are null."""

    v: Annotated[Literal[1], Meta(description="Version of this format; a new field does not raise it.")]
    kind: EventKind
    source: Annotated[Text, Meta(description="Name of the camera or file.")]
    track: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Number of the face; not used again in the same run.")
    ]
    emotion: Annotated[
        Text | None,
        Meta(
            description='A label of the model or a group of them, or "uncertain"; null if faces are not classified'
            " (emotion.enabled is off)."
        ),
    ]
    previous: Annotated[Text | None, Meta(description="The emotion before.")]
    confidence: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(
            description="Smoothed probability of the emotion; of the most probable label if it is uncertain, "
            "0 if no image of the face can be classified."
        ),
    ]
    at: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$",
            description="Wall-clock time of the event, RFC 3339, UTC.",
            extra_json_schema={"format": "date-time"},
        ),
    ]
    mono: Annotated[
        float, Meta(description="Seconds of the source's clock: monotonic for a camera, media time for a file.")
    ]
    zone: Annotated[
        Text | UnsetType,
        Meta(
            description="Zone that the face is in, or was when it left; absent outside all zones. For the kind"
            " presence: the zone whose number changed; absent for the whole frame."
        ),
    ] = UNSET
    faces: Annotated[
        Count | UnsetType, Meta(description="Number of faces in view, with hysteresis; for the kind presence only.")
    ] = UNSET
    valence: Annotated[
        Affect | UnsetType,
        Meta(description="Unpleasant to pleasant, derived from the probabilities; absent unless that is enabled."),
    ] = UNSET
    arousal: Annotated[Affect | UnsetType, Meta(description="Calm to excited, as valence.")] = UNSET
    reason: Annotated[Text | UnsetType, Meta(description="Why a source was lost; otherwise absent.")] = UNSET
    counts: CountsJson | UnsetType = UNSET
    clock_synced: Annotated[
        bool | UnsetType, Meta(description="Whether the wall clock was synchronized; absent if unknown.")
    ] = UNSET
    session: Annotated[
        Text | UnsetType, Meta(description="Identifies the run of the program that made the event (random).")
    ] = UNSET
    sequence: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(
            description="Number of the event in its session, from 1. A number that arrives twice is the same event; one"
            " that is missing was dropped by an output."
        ),
    ] = UNSET


_TYPES: dict[tuple[str, ...], dict[str, str | list[str]]] = {
    ("appeared",): {"track": "integer", "emotion": ["string", "null"], "confidence": ["number", "null"]},
    ("changed",): {"track": "integer", "emotion": "string", "confidence": "number", "previous": "string"},
    ("left",): {"track": "integer", "emotion": "null", "previous": ["string", "null"]},
    ("source_lost", "source_back", "presence"): {"track": "null", "emotion": "null"},
    ("counts",): {"track": "null", "emotion": "null", "previous": "null", "confidence": "null"},
}
"""JSON types that the fields of an event have, by kind."""
_OPTIONAL = ("zone", "faces", "valence", "arousal", "reason", "session", "sequence")
"""Fields that are absent from the JSON if they are None."""


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema of an event, the content of ``schema/event.schema.json``."""
    rules: list[dict[str, Any]] = [
        {
            "if": {"properties": {"kind": {"enum": list(kinds)}}},
            "then": {"properties": {name: {"type": json_type} for name, json_type in types.items()}},
        }
        for kinds, types in _TYPES.items()
    ]
    rules[-1]["then"]["required"] = ["counts"]
    rules[-1]["else"] = {"properties": {"counts": False}}
    presence = {"properties": {"kind": {"const": "presence"}}}
    rules.append({"if": presence, "then": {"required": ["faces"]}, "else": {"properties": {"faces": False}}})
    schema = Annotated[EventJson, Meta(title="FER-Edge event", extra_json_schema={"allOf": rules})]
    described = with_clean_descriptions(msgspec.json.schema(schema))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def event_to_json(event: EmotionEvent) -> dict[str, Any]:
    """Return the JSON object of ``event``, as ``schema/event.schema.json`` describes it.

    Call it when the event occurs: ``clock_synced``, which says whether ``at`` can be trusted, is read now. It is
    omitted if the system does not provide it.

    >>> from fer_edge import EmotionEvent, EventKind
    >>> json_event = event_to_json(EmotionEvent(EventKind.LEFT, "cam0", 1.7e9, 12.3, 3, previous="happy"))
    >>> json_event["kind"], json_event["track"], json_event["previous"], json_event["at"]
    ('left', 3, 'happy', '2023-11-14T22:13:20.000Z')
    """
    return msgspec.to_builtins(_to_struct(event), enc_hook=_to_python)  # type: ignore[no-any-return]  # a Struct becomes a dict


def encode_json(event: EmotionEvent) -> bytes:
    """Return ``event_to_json`` of ``event`` as compact JSON."""
    return json_bytes(_to_struct(event))


def encode_json_line(event: EmotionEvent) -> bytes:
    """Return ``encode_json`` of ``event`` with a newline."""
    return encode_json(event) + b"\n"


def json_bytes(value: object) -> bytes:
    """Return ``value`` as compact JSON in UTF-8; NaN and infinities become null.

    Surrogates, as in file names that are not UTF-8, are escaped.
    """
    try:
        return msgspec.json.encode(value, enc_hook=_to_python)
    except UnicodeEncodeError:  # msgspec refuses surrogates
        text = json.dumps(msgspec.to_builtins(value, enc_hook=_to_python))
        finite = json.loads(text, parse_constant=lambda _: None)
        return json.dumps(finite, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def time_text(at: float) -> str:
    """Return ``at``, seconds since the epoch, as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _to_struct(event: EmotionEvent) -> EventJson:
    synced = clock_synced()
    optional = {name: value for name in _OPTIONAL if (value := getattr(event, name)) is not None}
    return EventJson(
        v=1,
        kind=event.kind,
        source=event.source,
        track=event.track_id,
        emotion=event.emotion,
        previous=event.previous,
        confidence=None if event.confidence is None else round(event.confidence, 4),
        at=time_text(event.at),
        mono=round(event.mono, 3),
        counts=UNSET if event.counts is None else _counts(event.counts),
        clock_synced=UNSET if synced is None else synced,
        **optional,
    )


def _counts(counts: FaceCounts) -> CountsJson:
    seconds = {name: round(seconds, 1) for name, seconds in sorted(counts.emotion_s.items())}
    entered = dict(sorted(counts.entered.items())) or UNSET
    return CountsJson(round(counts.interval_s, 3), counts.appeared, counts.max_at_once, seconds, entered)
