"""What is reported of a face: groups of emotions, valence and arousal, or presence without any emotion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import Pipeline, load_bundle
from fer_edge.commands.notice import build_notice
from fer_edge.errors import ConfigError
from fer_edge.settings.pipeline import EmotionSettings, PresenceSettings
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.sinks.aggregate import AggregatingSink
from fer_edge.sinks.console import event_line
from fer_edge.sinks.mqtt.home_assistant import Announcement
from fer_edge.sinks.mqtt.topics import Topics
from fer_edge.stages.affect import AffectReader
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.emotion_groups import GroupedClassifier
from fer_edge.stages.events import EventBuilder
from fer_edge.stages.presence import PresenceCounter
from fer_edge.status import ModelStatus, SourceState, SourceStatus
from fer_edge.types import (
    Box,
    CropSpec,
    EmotionEvent,
    EmotionProbabilities,
    EventKind,
    Face,
    FaceCrop,
    Presence,
    Track,
    TrackReading,
)
from support.processes.edge_command import assert_one_line, fer_edge, lines_of

SCHEMA = json.loads((files("fer_edge") / "schema" / "event.schema.json").read_text(encoding="utf-8"))
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
MOODS = {"positive": ("happy", "surprise"), "negative": ("angry", "disgust", "fear", "sad")}
CROP = FaceCrop(Face(Box(0, 0, 48, 48), 1.0), np.zeros((48, 48), np.uint8), 1.0)
PRESENCE = "[presence]\nenabled = true\n"
ONLY_PRESENCE = f"[emotion]\nenabled = false\n{PRESENCE}"


class Fixed:
    """A classifier that returns given probabilities."""

    labels, crop_spec = LABELS, CropSpec(height=48, width=48)

    def __init__(self, values: Sequence[float]) -> None:
        self.values = np.array(values, np.float32)
        self.closed = False

    def classify(self, crop: FaceCrop) -> EmotionProbabilities:
        return EmotionProbabilities(self.values)

    def close(self) -> None:
        self.closed = True


@st.composite
def probabilities(draw: st.DrawFn) -> list[float]:
    parts = draw(st.lists(st.floats(0, 1), min_size=7, max_size=7).filter(lambda values: sum(values) > 0.1))
    return [part / sum(parts) for part in parts]


@given(probabilities(), st.dictionaries(st.sampled_from(["a", "b", "c"]), st.none()), st.randoms())
def test_groups_add_up_the_probabilities_of_their_emotions(
    values: list[float], names: dict[str, None], random: np.random.Generator
) -> None:
    shuffled = list(LABELS)
    random.shuffle(shuffled)  # type: ignore[arg-type]
    groups = {name: (shuffled[2 * place], shuffled[2 * place + 1]) for place, name in enumerate(names)}
    classifier = Fixed(values)
    with GroupedClassifier(classifier, groups) as grouped:
        found = dict(zip(grouped.labels, grouped.classify(CROP).values.tolist(), strict=True))
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)
    single = dict(zip(LABELS, values, strict=True))
    for label, value in found.items():
        assert value == pytest.approx(sum(single[member] for member in groups.get(label, (label,))), abs=1e-5)
    assert list(found)[: len(groups)] == list(groups)
    assert classifier.closed


@given(probabilities())
def test_valence_and_arousal_are_means_weighted_by_the_probabilities(values: list[float]) -> None:
    reader = AffectReader(LABELS)
    alone = [reader.read(EmotionProbabilities(np.eye(7, dtype=np.float32)[place])) for place in range(7)]
    expected = [sum(value * one[axis] for value, one in zip(values, alone, strict=True)) for axis in (0, 1)]
    assert reader.read(EmotionProbabilities(np.array(values, np.float32))) == pytest.approx(expected, abs=1e-3)
    by_name = dict(zip(LABELS, alone, strict=True))
    assert by_name["happy"] == (0.81, 0.51)  # Russell and Mehrabian 1977, table 1
    assert by_name["neutral"] == (0.0, 0.0)


def test_labels_that_are_not_known_have_no_valence() -> None:
    with pytest.raises(ConfigError, match=r"emotion 'contempt', whose valence and arousal are not known; known are"):
        AffectReader(("happy", "contempt"))


times = st.lists(st.tuples(st.sampled_from([0.05, 0.1, 0.4, 1.0, 3.0]), st.integers(0, 4)), min_size=1, max_size=60)


@given(times, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.5, 2.0]))
def test_the_number_of_faces_lies_between_the_extremes_of_both_windows(
    steps: list[tuple[float, int]], enter_s: float, leave_s: float
) -> None:
    """Compared with the definition, calculated from all frames."""
    counter = PresenceCounter((), PresenceSettings(enabled=True, enter_after_s=enter_s, leave_after_s=leave_s))
    now, before, seen = 0.0, 0, [(0.0, 0)] if enter_s else []
    for number, (step, faces) in enumerate(steps):
        now += step if number else 0.0
        seen.append((now, faces))
        low = min(count for at, count in seen if now - at <= enter_s)
        high = max(count for at, count in seen if now - at <= leave_s)
        expected = max(low, min(before, high))
        found, changed = counter.update([None] * faces, now)
        assert found == Presence(expected, {})
        assert changed == (((None, expected),) if expected != before else ())
        before = expected
    assert counter.finish() == (((None, 0),) if before else ())
    assert counter.finish() == ()


def test_a_short_gap_and_a_short_face_change_nothing() -> None:
    settings = PresenceSettings(enabled=True, enter_after_s=0.5, leave_after_s=2.0)
    counter = PresenceCounter(("desk",), settings)
    frames = [(t / 10, 1 if 10 <= t < 50 or 60 <= t < 80 or t in (150, 151) else 0) for t in range(200)]
    changes = {
        at: changed for at, faces in frames if (changed := counter.update(["desk"] * faces, at)[1])
    }  # fmt: skip
    assert changes == {1.5: ((None, 1), ("desk", 1)), 10.0: ((None, 0), ("desk", 0))}


def test_zones_are_counted_each() -> None:
    counter = PresenceCounter(("desk", "door"), PresenceSettings(enabled=True, enter_after_s=0, leave_after_s=0))
    found, changed = counter.update(["desk", None, "desk"], 0.0)
    assert found == Presence(3, {"desk": 2, "door": 0})
    assert changed == ((None, 3), ("desk", 2))
    assert counter.update(["door"], 0.1)[1] == ((None, 1), ("desk", 0), ("door", 1))


@pytest.mark.slow
def test_presence_needs_no_model_and_its_events_follow_the_schema(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f"{ONLY_PRESENCE}[source.zones]\nleft = [0, 0, 0.5, 1]\n")
    outputs = ("--events", "e.jsonl", "--stats", "s.json", "--trace", "t.jsonl", "--annotate", "a.webm")
    result = fer_edge("run", "demo", "--settings", "c.toml", "--bundle", "missing", *outputs, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    events = lines_of(tmp_path / "e.jsonl")
    for event in events:
        jsonschema.validate(event, SCHEMA)
    assert {event["kind"] for event in events} == {"appeared", "left", "presence"}
    assert {event["emotion"] for event in events} == {None}
    whole = [event["faces"] for event in events if event["kind"] == "presence" and "zone" not in event]
    assert whole == [1, 0] * (len(whole) // 2) and whole
    assert next(event["faces"] for event in events if event.get("zone") == "left" and event["kind"] == "presence") == 1
    stages = json.loads((tmp_path / "s.json").read_text())["stages"]
    assert "verify" in stages and not {"crop", "classify"} & stages.keys()
    tracks = [track for frame in lines_of(tmp_path / "t.jsonl") for track in frame["tracks"]]
    assert {track["emotion"] for track in tracks} == {None} and tracks


def test_groups_and_valence_in_a_run(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text('[emotion.groups]\npositive = ["happy", "surprise"]\n')
    (tmp_path / "v.toml").write_text("[emotion]\nvalence_arousal = true\n")
    for name in ("g", "v"):
        outputs = ("--events", f"{name}.jsonl", "--trace", f"{name}t.jsonl")
        result = fer_edge(
            "run", "demo", "--settings", f"{name}.toml", "--max-frames", 60, *outputs, cwd=tmp_path
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        for event in lines_of(tmp_path / f"{name}.jsonl"):
            jsonschema.validate(event, SCHEMA)
    (grouped, *_), (valued, *_) = lines_of(tmp_path / "g.jsonl"), lines_of(tmp_path / "v.jsonl")
    assert (grouped["kind"], grouped["emotion"], grouped["confidence"]) == (
        "appeared",
        "positive",
        pytest.approx(1, abs=0.1),
    )
    assert "valence" not in grouped
    assert valued["emotion"] == "happy" and 0.6 < valued["valence"] <= 0.81 and 0.3 < valued["arousal"] <= 0.51
    assert all("valence" in track for frame in lines_of(tmp_path / "vt.jsonl") for track in frame["tracks"])


def test_groups_of_the_released_model_decide_as_the_sum(tmp_path: Path) -> None:
    settings = RuntimeSettings(emotion=EmotionSettings(groups=MOODS))
    rng = np.random.default_rng(3)
    with load_bundle() as bundle, EmotionClassifier(bundle) as plain, Pipeline.from_bundle(bundle, settings) as mood:
        assert mood.classifier is not None and mood.classifier.labels == ("positive", "negative", "neutral")
        for _ in range(20):
            crop = FaceCrop(CROP.face, rng.integers(0, 256, (48, 48), dtype=np.uint8), 1.0)
            single = dict(zip(plain.labels, plain.classify(crop).values, strict=True))
            expected = [sum(single[label] for label in group) for group in (*MOODS.values(), ("neutral",))]
            np.testing.assert_allclose(mood.classifier.classify(crop).values, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups.a = []", ("emotion.groups.a is empty",)),
        ('groups.a = ["happy"]\ngroups.b = ["happy"]', ("emotion.groups.b", "happy is in groups.a already")),
        ('groups.a = ["happy", "happy"]', ("emotion.groups.a names happy twice",)),
        ('groups.a = ["joy"]', ("emotion.groups.a", "no emotion 'joy'", "angry, disgust")),
        ('groups.sad = ["happy"]', ("emotion.groups.sad", "choose another name")),
        ('groups.uncertain = ["happy"]', ("emotion.groups.uncertain", "choose another name")),
        ('groups."a\\u0007" = ["sad"]', ("emotion.groups", "1 to 64 letters")),
        ('groups.a = "happy"', ("emotion.groups.a", "a list")),
        ('groups.a = ["happy"]\nvalence_arousal = true', ("remove groups",)),
        ("enabled = false\nvalence_arousal = true", ("need enabled",)),
        ("enabled = 0", ("emotion.enabled",)),
    ],
)
def test_what_cannot_be_reported_is_one_line_and_exit_2(tmp_path: Path, text: str, said: tuple[str, ...]) -> None:
    (tmp_path / "c.toml").write_text(f"[emotion]\n{text}\n")
    result = fer_edge("run", "demo", "--settings", "c.toml", "--events", "e.jsonl", cwd=tmp_path)
    assert_one_line(result, 2, *said)
    assert not (tmp_path / "e.jsonl").exists()


def test_a_face_that_is_not_classified_appears_once() -> None:
    builder = EventBuilder((), EmotionSettings(heartbeat_s=1.0))
    track = Track(1, Box(0, 0, 9, 9), 0.0, confirmed=True, face=Face(Box(0, 0, 9, 9), 1.0))
    kinds = [
        event.kind
        for now in (0.0, 0.5, 1.0, 1.5)
        for event in builder.update("door", [TrackReading(track, None)], now)[1]
    ]
    assert kinds == [EventKind.APPEARED, EventKind.HEARTBEAT]


def test_states_of_mqtt_and_home_assistant_show_the_number_with_hysteresis() -> None:
    topics = Topics("fer-edge", "pi", aggregate=False)
    source = SourceStatus("door", SourceState.WATCHING, presence=Presence(2, {"desk": 1}), zones=("desk",))
    assert (source.faces, source.zone_faces) == (2, {"desk": 1})
    assert SourceStatus("door", SourceState.LOST, presence=Presence(2, {})).faces == 0
    announced = Announcement("homeassistant").payload(topics, ModelStatus(), {"door": ("desk",)})["components"]
    assert {"door_faces", "door_occupancy", "door_zone_desk"} <= announced.keys()
    assert not {"door_emotion", "door_confidence"} & announced.keys()
    assert (
        "door_emotion"
        in Announcement("homeassistant").payload(topics, ModelStatus(labels=LABELS), {"door": ()})["components"]
    )


def test_privacy_aggregate_counts_faces_without_emotions_and_no_single_presence() -> None:
    kept: list[EmotionEvent] = []

    class Kept:
        def emit(self, event: EmotionEvent) -> None:
            kept.append(event)

        def record(self, result: object) -> None:
            pass

        def start_closing(self) -> None:
            pass

        def close(self) -> None:
            pass

    with AggregatingSink(Kept(), 10.0, live=False) as sink:  # type: ignore[arg-type]
        sink.emit(EmotionEvent(EventKind.APPEARED, "door", 0.0, 1.0, 1))
        sink.emit(EmotionEvent(EventKind.PRESENCE, "door", 0.0, 2.0, faces=1))
        sink.emit(EmotionEvent(EventKind.LEFT, "door", 0.0, 6.0, 1))
    (counts,) = [event.counts for event in kept]
    assert counts is not None
    assert (counts.appeared, counts.max_at_once, counts.emotion_s) == (1, 1, {})


def test_the_console_says_how_many_faces() -> None:
    event = EmotionEvent(EventKind.PRESENCE, "door", 1.7e9, 20.0, faces=1, zone="desk")
    assert event_line(event) == "   20.00 s  door  presence  1 face  in desk"


@pytest.mark.parametrize("code", ["en", "de"])
def test_the_notice_of_a_presence_sensor_says_nothing_of_expressions(tmp_path: Path, code: str) -> None:
    (tmp_path / "c.toml").write_text(
        f'{ONLY_PRESENCE}[output]\ntrace = "t.jsonl"\nannotate = "a.webm"\n[web]\nenabled = true\npreview = true\n'
    )
    settings = load_settings(tmp_path / "c.toml", environment={})
    text = build_notice(settings, (), code).as_text().replace("\n", " ")
    expression = {"en": "expression", "de": "ausdr"}[code]
    denied = {"en": "It does not estimate expressions.", "de": "Es schätzt keine Gesichtsausdrücke."}[code]
    assert denied in text
    assert expression not in text.replace(denied, "").lower()
    assert {"en": "how many faces are in view", "de": "wie viele Gesichter im Bild sind"}[code] in text
    result = fer_edge("notice", "--settings", "c.toml", cwd=tmp_path)
    assert (result.returncode, "counts faces" in result.stdout.lower()) == (0, True)
