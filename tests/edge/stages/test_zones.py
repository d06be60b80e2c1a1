"""Zones: in which of ``source.zones`` a face is, what is counted in each, and which zones are refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fer_edge.errors import ConfigError
from fer_edge.settings.runtime import load_settings
from fer_edge.settings.source import MAX_ZONES
from fer_edge.sinks import SinkGroup
from fer_edge.sinks.aggregate import AggregatingSink
from fer_edge.sinks.console import event_line
from fer_edge.stages.zones import ZoneFinder, draw_zones
from fer_edge.telemetry import Telemetry
from fer_edge.types import Box, EmotionEvent, EventKind, Frame, FrameResult, Track, TrackedEmotion
from support.processes.edge_command import assert_one_line, fer_edge, lines_of

HALVES = {"left": (0.0, 0.0, 0.5, 1.0), "right": (0.5, 0.0, 0.5, 1.0)}
TOML = '[source.zones]\nleft = [0, 0, 0.5, 1]\n"right side" = [0.5, 0, 0.5, 1]\n'


def at(x: float, width: int = 100, track_id: int = 1) -> Track:
    return Track(track_id, Box(round(x - width / 2), 0, width, width), 0.0, confirmed=True)


@given(st.integers(16, 900), st.integers(16, 900), st.integers(2, 6), st.integers(2, 6))
def test_tiles_cover_the_picture_and_do_not_overlap(width: int, height: int, columns: int, rows: int) -> None:
    tiles = {
        f"{row} {column}": (column / columns, row / rows, 1 / columns, 1 / rows)
        for row in range(rows)
        for column in range(columns)
    }
    drawn = draw_zones(tiles, width, height)
    areas = np.bincount(drawn.ravel(), minlength=columns * rows + 1)
    assert areas[0] == 0
    assert abs(areas[1:] - width * height / (columns * rows)).max() <= 2 * (width + height)


@given(st.integers(40, 300), st.integers(40, 300), st.data())
def test_a_point_inside_a_polygon_is_in_its_zone(width: int, height: int, data: st.DataObject) -> None:
    share = st.floats(0, 1)
    corners = data.draw(st.lists(st.tuples(share, share), min_size=3, max_size=3))
    (x, y) = np.mean(corners, axis=0)
    (ax, ay), (bx, by), (cx, cy) = corners
    assume(abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) > 0.1)
    drawn = draw_zones({"triangle": [value for corner in corners for value in corner]}, width, height)
    assert drawn[min(int(y * height), height - 1), min(int(x * width), width - 1)] == 1
    assert 0.5 * abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) == pytest.approx((drawn == 1).mean(), abs=0.1)


def test_zones_that_overlap_or_leave_the_picture_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"source\.zones\.b: overlaps zone a"):
        draw_zones({"a": (0.0, 0.0, 0.6, 1.0), "b": (0.5, 0.5, 0.5, 0.5)}, 640, 480)
    with pytest.raises(ConfigError, match=r"source\.zones\.a .*extends beyond the picture of 640x480"):
        draw_zones({"a": (600.0, 0.0, 100.0, 100.0)}, 640, 480)
    assert draw_zones({"a": (0.0, 0.0, 320.0, 480.0), "b": (320.0, 0.0, 320.0, 480.0)}, 640, 480).tolist()[0] == (
        [1] * 320 + [2] * 320
    )


def test_a_face_on_the_border_keeps_its_zone() -> None:
    finder = ZoneFinder(HALVES)
    seen = [finder.update([at(x)], 640, 480)[1] for x in (200, 315, 322, 318, 329, 331, 322, 311, 309)]
    assert seen == ["left"] * 5 + ["right"] * 3 + ["left"]
    assert finder.update([at(322, track_id=2)], 640, 480) == {2: "right"}  # a new face has no zone to keep
    assert finder.entered == ("right",)
    assert finder.update([at(322, track_id=2)], 640, 480) == {2: "right"}
    assert finder.entered == ()


def test_a_face_outside_all_zones_and_outside_the_frame() -> None:
    finder = ZoneFinder({"corner": (0.0, 0.0, 0.25, 0.25)})
    assert finder.update([at(400), at(-500, track_id=2)], 640, 480) == {1: None, 2: "corner"}
    assert ZoneFinder({}).update([at(400)], 640, 480) == {}


def test_frames_of_another_size_move_the_zones() -> None:
    finder = ZoneFinder(HALVES)
    assert finder.update([at(200)], 640, 480) == {1: "left"}
    assert finder.update([at(200)], 320, 240) == {1: "right"}


def test_seconds_and_entries_are_added_up() -> None:
    telemetry = Telemetry()
    telemetry.zones = ("desk", "door")
    happy = TrackedEmotion("cam", 1, Box(0, 0, 9, 9), "happy", 0.9, 0.0, zone="desk")
    telemetry.count_zones(["desk"], [happy], 0.0)
    telemetry.count_zones([], [happy], 1.5)
    found = telemetry.snapshot().zones
    assert {name: (zone.entered, zone.emotion_s) for name, zone in found.items()} == {
        "desk": (1, {"happy": 1.5}),
        "door": (0, {}),
    }


@pytest.mark.slow
def test_a_run_names_the_zone_in_events_and_statistics(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(TOML)
    files = ("--events", "e.jsonl", "--stats", "s.json")
    result = fer_edge("run", "demo", "--config", "c.toml", "--max-frames", 300, *files, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    events = lines_of(tmp_path / "e.jsonl")
    appeared = Counter(event["zone"] for event in events if event["kind"] == "appeared")
    assert appeared.keys() == {"left", "right side"}
    zones = json.loads((tmp_path / "s.json").read_text())["zones"]
    for name, count in appeared.items():
        assert zones[name]["entered"] >= count  # the face crosses the picture
        assert zones[name]["emotion_s"]["happy"] > 1
    watched_s = sum(sum(zone["emotion_s"].values()) for zone in zones.values())
    assert 5 < watched_s < 20  # of 20 seconds


def test_without_zones_nothing_is_named(tmp_path: Path) -> None:
    files = ("--events", "e.jsonl", "--stats", "s.json")
    assert fer_edge("run", "demo", "--max-frames", 60, *files, cwd=tmp_path).returncode == 0
    assert all("zone" not in event for event in lines_of(tmp_path / "e.jsonl"))
    assert json.loads((tmp_path / "s.json").read_text())["zones"] == {}


def test_aggregate_counts_who_came_into_each_zone() -> None:
    kept: list[EmotionEvent] = []

    def frame(seconds: float, zone: str | None) -> FrameResult:
        track = TrackedEmotion("cam", 1, Box(0, 0, 9, 9), "happy", 0.9, 0.0, zone)
        return FrameResult(Frame("cam", 0, seconds, np.zeros((2, 2), np.uint8)), (track,), ())

    with AggregatingSink(SinkGroup([], kept.append), 10.0, live=False) as sink:
        for seconds, zone in ((0.0, "desk"), (1.0, "desk"), (2.0, None), (3.0, "desk"), (12.0, "desk"), (13.0, "door")):
            sink.record(frame(seconds, zone))
    first, second = (event.counts for event in kept)
    assert first is not None and second is not None
    assert (first.entered, second.entered) == ({"desk": 2}, {"door": 1})
    assert "2 in desk" in event_line(kept[0])


def test_the_console_names_the_zone() -> None:
    event = EmotionEvent(EventKind.LEFT, "cam0", 1.7e9, 20.0, 3, previous="happy", zone="desk")
    assert event_line(event) == "   20.00 s  cam0  face 3  left      was happy  in desk"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("left = [0, 0, 0.6, 1]\nright = [0.5, 0, 0.5, 1]", ("zones.right", "overlaps zone left")),
        ("left = [0, 0, 900, 10]", ("zones.left", "beyond the picture of 640x480")),
        ('"a\\u001bb" = [0, 0, 1, 1]', ("source.zones", r"a\x1bb", "1 to 64 letters")),
        ("a = [0, 0, 1, 1, 1]", ("zones.a", "[x, y, width, height] or a polygon")),
        ("a = [0, 0, 0, 1]", ("zones.a", "width and height must be above 0")),
        ("a = [0.5, 0, 30.5, 1]", ("zones.a", "whole pixels, or fractions")),
        ('a = "desk"', ("zones.a", "a list")),
        ("a = [0, 0, 1, 1]\na = [0, 0, 1, 1]", ("not valid TOML",)),
        ("\n".join(f"z{n} = [0, 0, 1, 1]" for n in range(MAX_ZONES + 1)), ("at most 64",)),
    ],
)
def test_wrong_zones_are_one_line_and_exit_2(tmp_path: Path, text: str, said: tuple[str, ...]) -> None:
    (tmp_path / "c.toml").write_text(f"[source.zones]\n{text}\n")
    result = fer_edge("run", "demo", "--config", "c.toml", "--events", "e.jsonl", cwd=tmp_path)
    assert_one_line(result, 2, *said)


def test_zones_of_one_camera_and_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[cameras.door]\nuri = "demo"\n[cameras.door.zones]\nmat = [0, 0, 1, 1]\n')
    settings = load_settings(tmp_path / "c.toml", environment={})
    assert settings.cameras["door"].zones == {"mat": (0.0, 0.0, 1.0, 1.0)}  # type: ignore[attr-defined]
    found = load_settings(environment={"FER_EDGE_SOURCE_ZONES": "{desk = [0, 0, 1, 0.5]}"})
    assert found.source.zones == {"desk": (0.0, 0.0, 1.0, 0.5)}
