"""``privacy = "aggregate"``: counts add up, and no event of a person is passed on."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.protocols import ClosingSink
from fer_edge.sinks import SinkGroup
from fer_edge.sinks.aggregate import AggregatingSink
from fer_edge.sinks.console import event_line
from fer_edge.sinks.event_json import event_to_json
from fer_edge.types import EmotionEvent, EventKind, FaceCounts, Frame, FrameResult
from support.environments.fresh_install import CHECKOUT
from support.processes.daemon import running_daemon
from support.processes.edge_command import assert_one_line, fer_edge, lines_of
from support.processes.waiting import wait_for

SCHEMA = json.loads((CHECKOUT / "edge/fer_edge/schema/event.schema.json").read_text())


class Kept(ClosingSink):
    def __init__(self) -> None:
        self.events: list[EmotionEvent] = []

    def emit(self, event: EmotionEvent) -> None:
        self.events.append(event)


def frame(at: float) -> FrameResult:
    return FrameResult(Frame("cam0", 0, at, np.zeros((2, 2), np.uint8)), (), ())


def event(kind: EventKind, at: float, track: int | None = None, emotion: str | None = None) -> EmotionEvent:
    return EmotionEvent(kind, "cam0", 1.7e9, at, track, emotion)


def counts_of(kept: Kept) -> list[FaceCounts]:
    return [event.counts for event in kept.events if event.counts is not None]


def test_counts_of_a_file_go_by_its_own_time() -> None:
    kept = Kept()
    with AggregatingSink(SinkGroup([], kept.emit), 10.0, live=False) as sink:
        sink.record(frame(0.0))
        sink.emit(event(EventKind.APPEARED, 4.0, 1, "happy"))
        sink.emit(event(EventKind.APPEARED, 6.0, 2, "sad"))
        sink.emit(event(EventKind.CHANGED, 7.0, 1, "sad"))
        sink.emit(event(EventKind.HEARTBEAT, 8.0, 1, "sad"))
        sink.emit(event(EventKind.LEFT, 12.0, 2))
        sink.emit(event(EventKind.SOURCE_LOST, 9e9))
        sink.emit(event(EventKind.SOURCE_BACK, 9e9))
        sink.record(frame(31.0))
    first, second, third, last = counts_of(kept)
    assert first == FaceCounts(10.0, 2, 2, {"happy": 3.0, "sad": 4.0 + 3.0})
    assert second == FaceCounts(10.0, 0, 2, {"sad": 2.0 + 10.0})
    assert third == FaceCounts(10.0, 0, 1, {"sad": 10.0})
    assert last.interval_s == 10.0  # a whole interval, since the file's end may be the time when somebody left
    assert [event.mono for event in kept.events if event.counts] == [10.0, 20.0, 30.0, 40.0]
    kinds = [event.kind for event in kept.events]
    assert (kinds.count(EventKind.SOURCE_LOST), kinds.count(EventKind.SOURCE_BACK)) == (1, 1)
    assert all(event.track_id is None and event.emotion is None for event in kept.events)
    for told in kept.events:
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(event_to_json(told))))


@given(
    faces=st.lists(
        st.tuples(
            st.floats(0, 90), st.lists(st.tuples(st.floats(0.1, 20), st.sampled_from("ab")), min_size=1, max_size=4)
        ),
        max_size=6,
    ),
    every_s=st.sampled_from([1.0, 7.0, 60.0]),
)
def test_nothing_is_lost_or_counted_twice(faces: list[tuple[float, list[tuple[float, str]]]], every_s: float) -> None:
    events, seconds = [], {"a": 0.0, "b": 0.0}
    for track, (begin, phases) in enumerate(faces, 1):
        at, kind = begin, EventKind.APPEARED
        for length, emotion in phases:
            events.append(event(kind, at, track, emotion))
            seconds[emotion] += length
            at, kind = at + length, EventKind.CHANGED
        events.append(event(EventKind.LEFT, at, track))
    kept = Kept()
    with AggregatingSink(SinkGroup([], kept.emit), every_s, live=False) as sink:
        for each in sorted(events, key=lambda event: event.mono):
            sink.emit(each)
    counts = counts_of(kept)
    for emotion, expected in seconds.items():
        assert sum(count.emotion_s.get(emotion, 0.0) for count in counts) == pytest.approx(expected, abs=1e-6)
    assert sum(count.appeared for count in counts) == len(faces)
    assert all(sum(count.emotion_s.values()) <= count.max_at_once * every_s + 1e-6 for count in counts)
    assert all(event.mono % every_s == pytest.approx(0.0, abs=1e-6) for event in kept.events)


def test_counts_of_a_camera_come_though_nobody_is_there() -> None:
    kept = Kept()
    sink = AggregatingSink(SinkGroup([], kept.emit), 0.2, live=True, sources=lambda: ["cam0", "cam1"])
    wait_for(lambda: len(kept.events) >= 6)
    sink.close()
    assert {event.source for event in kept.events} == {"cam0", "cam1"}
    assert all(count.appeared == 0 and count.emotion_s == {} for count in counts_of(kept))


def test_a_clock_that_jumps_makes_no_flood() -> None:
    kept = Kept()
    with AggregatingSink(SinkGroup([], kept.emit), 1.0, live=False) as sink:
        for at in (0.0, 1e9, float("nan"), 5.0):
            sink.record(frame(at))
    assert len(kept.events) < 1100


def test_the_line_for_people() -> None:
    told = EmotionEvent(EventKind.COUNTS, "cam0", 1.7e9, 60.0, counts=FaceCounts(60.0, 3, 2, {"happy": 41.6}))
    assert event_line(told) == "   60.00 s  cam0  counts    3 appeared, 2 at once  happy 42 s"


@pytest.mark.slow
def test_the_command_tells_counts_alone(tmp_path: Path) -> None:
    settings = {"FER_EDGE_OUTPUT_PRIVACY": "aggregate", "FER_EDGE_OUTPUT_AGGREGATE_S": "5"}
    arguments = ("run", "demo", "--duration", "12", "--events", "events.jsonl")
    done = fer_edge(*arguments, cwd=tmp_path, settings={**settings, "FER_EDGE_EMOTION_HEARTBEAT_S": "1"})
    assert done.returncode == 0, done.stderr
    lines = lines_of(tmp_path / "events.jsonl")
    assert [line["kind"] for line in lines] == ["counts"] * 3
    assert lines[0]["counts"]["appeared"] == 1 and lines[0]["counts"]["emotion_s"]["happy"] > 1
    assert "face" not in done.stdout.partition("frames")[0]
    for flag in ("--trace", "--annotate"):
        refused = fer_edge(*arguments, flag, "out.mp4", cwd=tmp_path, settings=settings)
        assert_one_line(refused, 2, flag, "aggregate")


def test_the_last_counts_are_told_when_the_service_ends(tmp_path: Path) -> None:
    config = '[source]\nuris = ["demo"]\nrealtime = true\n[output]\nprivacy = "aggregate"\nevents = "events.jsonl"\n'
    with running_daemon(tmp_path, config) as daemon:
        daemon.wait_for(lambda: daemon.count("WATCHDOG=1"))  # a frame was processed
        assert daemon.stop() == 0
    (line,) = lines_of(tmp_path / "events.jsonl")
    assert line["kind"] == "counts" and 0 < line["counts"]["interval_s"] < 60
