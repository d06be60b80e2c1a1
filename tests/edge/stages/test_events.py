"""Emotions are stable, each change is reported once, and each line matches the schema."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.settings.pipeline import EmotionSettings
from fer_edge.sinks.event_json import encode_json_line, event_schema, event_to_json
from fer_edge.stages.events import EventBuilder, Hysteresis
from fer_edge.system.clock import clock_synced
from fer_edge.types import (
    UNCERTAIN,
    Box,
    EmotionEvent,
    EmotionProbabilities,
    EventKind,
    FaceCounts,
    Track,
    TrackReading,
)

LABELS = ("happy", "sad", "neutral")
SETTINGS = EmotionSettings(enter=0.5, exit=0.35, min_lead=0.1, min_dwell_s=0.5)
BOX = Box(10, 20, 60, 60)


def _probabilities(*values: float) -> EmotionProbabilities:
    return EmotionProbabilities(np.array(values, dtype=np.float32))


def _reading(track_id: int, *values: float, confirmed: bool = True) -> TrackReading:
    return TrackReading(Track(track_id, BOX, 0.0, confirmed), _probabilities(*values) if values else None)


HAPPY, SAD, UNSURE = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.34, 0.33, 0.33)


def test_an_emotion_is_accepted_at_enter_and_kept_until_exit() -> None:
    state = Hysteresis(SETTINGS)
    assert state.update(_probabilities(0.49, 0.3, 0.21), 0.0) is None
    assert state.update(_probabilities(0.51, 0.3, 0.19), 0.1) == 0
    for index in range(20):
        assert state.update(_probabilities(0.4, 0.3, 0.3), 0.2 + index) == 0


def test_another_emotion_must_lead_for_the_whole_dwell_time() -> None:
    state = Hysteresis(SETTINGS)
    state.update(_probabilities(*HAPPY), 0.0)
    assert state.update(_probabilities(*SAD), 1.0) == 0
    assert state.update(_probabilities(*SAD), 1.4) == 0
    assert state.update(_probabilities(*HAPPY), 1.45) == 0
    assert state.update(_probabilities(*SAD), 1.6) == 0
    assert state.update(_probabilities(*SAD), 2.1) == 1


def test_the_dwell_time_counts_for_one_emotion_only() -> None:
    state = Hysteresis(SETTINGS)
    state.update(_probabilities(*HAPPY), 0.0)
    assert state.update(_probabilities(*SAD), 1.0) == 0
    third = (0.1, 0.1, 0.8)
    assert state.update(_probabilities(*third), 1.4) == 0
    assert state.update(_probabilities(*third), 1.6) == 0
    assert state.update(_probabilities(*third), 2.0) == 2


def test_a_narrow_lead_changes_nothing() -> None:
    state = Hysteresis(EmotionSettings(enter=0.4, exit=0.2, min_lead=0.1, min_dwell_s=0.0))
    assert state.update(_probabilities(0.5, 0.4, 0.1), 0.0) == 0
    assert state.update(_probabilities(0.41, 0.49, 0.1), 5.0) == 0
    assert state.update(_probabilities(0.3, 0.6, 0.1), 6.0) == 1


def test_below_exit_the_track_becomes_uncertain() -> None:
    state = Hysteresis(SETTINGS)
    state.update(_probabilities(*HAPPY), 0.0)
    assert state.update(_probabilities(*UNSURE), 1.0) == 0
    assert state.update(_probabilities(*UNSURE), 1.5) is None


def test_hidden_time_counts_towards_the_dwell_time() -> None:
    state = Hysteresis(SETTINGS)
    state.update(_probabilities(*HAPPY), 0.0)
    assert [state.hide(now) for now in (1.0, 1.4, 1.8)] == [0, 0, 0]
    assert state.update(_probabilities(*SAD), 1.9) == 1
    state.hide(3.0)
    assert state.update(_probabilities(*SAD), 4.0) == 1
    assert state.update(_probabilities(*HAPPY), 4.1) == 1, "it was seen since"


@given(
    st.lists(st.tuples(st.floats(0, 1), st.lists(st.floats(0.01, 1), min_size=3, max_size=3)), min_size=1, max_size=60)
)
def test_an_emotion_is_never_dropped_before_the_dwell_time(steps: list[tuple[float, list[float]]]) -> None:
    state, now, taken_at, held = Hysteresis(SETTINGS), 0.0, 0.0, None
    for elapsed, raw in steps:
        now += elapsed
        values = np.array(raw) / sum(raw)
        label = state.update(_probabilities(*values), now)
        if label != held:
            if held is not None:
                assert now - taken_at >= SETTINGS.min_dwell_s
            if label is not None:
                assert values[label] >= SETTINGS.enter - 1e-6
                assert label == int(values.argmax())
            held, taken_at = label, now


def _teller(**changes: Any) -> EventBuilder:
    settings = EmotionSettings(**{"enter": 0.5, "exit": 0.35, "min_lead": 0.1, "min_dwell_s": 0.5, **changes})
    return EventBuilder(LABELS, settings, wall_clock=lambda: 1_700_000_000.25)


def test_events_of_a_visit_from_appeared_to_left() -> None:
    builder = _teller()
    assert builder.update("cam", [_reading(1, *HAPPY, confirmed=False)], 0.0) == ((), ())
    emotions, events = builder.update("cam", [_reading(1, *HAPPY)], 0.1)
    assert [(told.track_id, told.emotion, told.since) for told in emotions] == [(1, "happy", 0.1)]
    assert events == (
        EmotionEvent(EventKind.APPEARED, "cam", 1_700_000_000.25, 0.1, 1, "happy", None, pytest.approx(0.8)),
    )
    assert builder.update("cam", [_reading(1, *SAD)], 0.2)[1] == ()
    emotions, (changed,) = builder.update("cam", [_reading(1, *SAD)], 0.75)
    assert (changed.kind, changed.emotion, changed.previous) == (EventKind.CHANGED, "sad", "happy")
    assert emotions[0].since == 0.75
    emotions, (left,) = builder.update("cam", [], 2.0)
    assert emotions == () and left.kind is EventKind.LEFT
    assert (left.track_id, left.emotion, left.previous, left.confidence) == (1, None, "sad", None)
    assert builder.update("cam", [], 3.0)[1] == ()


def test_a_lost_face_causes_no_events() -> None:
    builder, out_of_sight = _teller(), Track(1, BOX, 0.0, True, last_searched=9.0)
    builder.update("cam", [_reading(1, *HAPPY)], 0.0)
    for now in (1.0, 2.0):
        (told,), events = builder.update("cam", [TrackReading(out_of_sight, _probabilities(*SAD))], now)
        assert (told.emotion, events) == ("happy", ())
    _, (changed,) = builder.update("cam", [_reading(1, *SAD)], 2.1)
    assert (changed.kind, changed.emotion) == (EventKind.CHANGED, "sad")


def test_an_uncertain_track_has_the_confidence_of_its_top_label() -> None:
    (told,), (appeared,) = _teller().update("cam", [_reading(4, *UNSURE)], 0.0)
    assert told.emotion == appeared.emotion == UNCERTAIN
    assert told.confidence == pytest.approx(0.34)


def test_finish_reports_each_face_as_left_once() -> None:
    builder = _teller()
    builder.update("cam", [_reading(1, *HAPPY), _reading(2, *SAD)], 0.0)
    assert [(e.kind, e.track_id, e.mono) for e in builder.finish("cam", 5.0)] == [
        (EventKind.LEFT, 1, 5.0),
        (EventKind.LEFT, 2, 5.0),
    ]
    assert builder.finish("cam", 6.0) == ()


def test_heartbeats_are_sent_per_track_or_once_for_an_empty_scene() -> None:
    builder = _teller(heartbeat_s=1.0)
    beats: list[tuple[float, int | None, str | None]] = []
    for tenth in range(45):
        tracks = [_reading(1, *HAPPY), _reading(2, *SAD)] if tenth < 25 else []
        _, events = builder.update("cam", tracks, tenth / 10)
        beats += [(e.mono, e.track_id, e.emotion) for e in events if e.kind is EventKind.HEARTBEAT]
    assert beats == [
        (1.0, 1, "happy"),
        (1.0, 2, "sad"),
        (2.0, 1, "happy"),
        (2.0, 2, "sad"),
        (3.0, None, None),
        (4.0, None, None),
    ]


def test_no_heartbeats_by_default() -> None:
    builder = _teller()
    events = [event for tenth in range(100) for event in builder.update("cam", [_reading(1, *HAPPY)], tenth)[1]]
    assert [event.kind for event in events] == [EventKind.APPEARED]


def _schema() -> Any:
    return json.loads((files("fer_edge") / "schema" / "event.schema.json").read_text(encoding="utf-8"))


def test_the_schema_is_generated_from_the_structs() -> None:
    committed = (files("fer_edge") / "schema" / "event.schema.json").read_text(encoding="utf-8")
    # If this fails, write ``json.dumps(event_schema(), indent=2)`` and a newline to the file.
    assert committed == json.dumps(event_schema(), indent=2) + "\n"
    jsonschema.Draft202012Validator.check_schema(event_schema())


ANY_TEXT = st.text(st.characters(), max_size=9)  # with surrogates


@given(ANY_TEXT, st.floats(0, 1), st.floats(0, 1e9), st.none() | ANY_TEXT, st.dictionaries(ANY_TEXT, st.floats(0, 1e6)))
def test_lines_are_compact_json_with_escaped_surrogates(
    name: str, confidence: float, mono: float, reason: str | None, seconds: dict[str, float]
) -> None:
    counts = FaceCounts(60.0, 2, 1, seconds)
    event = EmotionEvent(
        EventKind.COUNTS, name, 1.7e9, mono, 3, name, None, np.float64(confidence), reason=reason, counts=counts
    )
    text = json.dumps(event_to_json(event), ensure_ascii=False, separators=(",", ":"))
    assert encode_json_line(event) == text.encode("utf-8", "backslashreplace") + b"\n"


def test_the_keys_of_a_line_are_in_order() -> None:
    counts = FaceCounts(60.00049, 2, 1, {"sad": 1.26, "happy": 3.0})
    event = EmotionEvent(
        EventKind.COUNTS, "cäm\udcff", 1.7e9, 1.23456, confidence=0.123456, reason="a/b", counts=counts
    )
    line = encode_json_line(event).partition(b',"clock_synced"')[0].removesuffix(b"}\n")
    assert line.decode() == (
        '{"v":1,"kind":"counts","source":"cäm\\udcff","track":null,"emotion":null,"previous":null,"confidence":0.1235,'
        '"at":"2023-11-14T22:13:20.000Z","mono":1.235,"reason":"a/b",'
        '"counts":{"interval_s":60.0,"appeared":2,"max_at_once":1,"emotion_s":{"happy":3.0,"sad":1.3}}'
    )


def test_the_json_line_is_as_documented() -> None:
    event = EmotionEvent(EventKind.CHANGED, "cam0", 1_700_000_000.25, 12.3, 3, "happy", "neutral", 0.83)
    line = event_to_json(event)
    line.pop("clock_synced", None)
    assert line == {
        "v": 1,
        "kind": "changed",
        "source": "cam0",
        "track": 3,
        "emotion": "happy",
        "previous": "neutral",
        "confidence": 0.83,
        "at": "2023-11-14T22:13:20.250Z",
        "mono": 12.3,
    }


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_kind_matches_the_schema(kind: EventKind) -> None:
    about_track = kind in (EventKind.APPEARED, EventKind.CHANGED, EventKind.LEFT)
    event = EmotionEvent(
        kind,
        "cam0",
        1_700_000_000.0,
        1.0,
        7 if about_track else None,
        "sad" if kind in (EventKind.APPEARED, EventKind.CHANGED) else None,
        "happy" if kind in (EventKind.CHANGED, EventKind.LEFT) else None,
        0.5 if kind in (EventKind.APPEARED, EventKind.CHANGED) else None,
        counts=FaceCounts(60.0, 2, 1, {"happy": 3.0}) if kind is EventKind.COUNTS else None,
        faces=2 if kind is EventKind.PRESENCE else None,
    )
    line = json.loads(json.dumps(event_to_json(event)))
    jsonschema.Draft202012Validator(_schema()).validate(line)


@pytest.mark.parametrize(
    "damage",
    [{"kind": "smiled"}, {"v": 2}, {"at": "2023-11-14 22:13:20"}, {"confidence": 1.5}, {"track": None}],
)
def test_the_schema_refuses_invalid_events(damage: dict[str, Any]) -> None:
    event = EmotionEvent(EventKind.CHANGED, "cam0", 1_700_000_000.0, 1.0, 3, "happy", "sad", 0.8)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(_schema()).validate({**event_to_json(event), **damage})


def test_clock_synced_is_a_boolean_or_absent() -> None:
    assert clock_synced() in (True, False, None)
