"""Metrics, status JSON and previews, and what privacy ``aggregate`` removes from them."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.resources import files

import cv2
import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.settings.service import WebSettings
from fer_edge.status import ChipStatus, ModelStatus, SinkStatus, SourceState, SourceStatus, StatusBoard, UpdateStatus
from fer_edge.telemetry import Telemetry
from fer_edge.types import Box, CropFault, EmotionEvent, EventKind, FaceCounts, Frame, FrameResult, TrackedEmotion
from fer_edge.web import History, Previews, WebServer, open_web
from fer_edge.web.application import json_response
from fer_edge.web.metrics import StatusMetrics
from fer_edge.web.status_json import status_object
from support.web.client import ask
from support.web.service import LABELS, DemoDaemon

SETTINGS = WebSettings(True, port=0)
SCHEMA = json.loads((files("fer_edge") / "schema" / "status.schema.json").read_text())
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")


def filled_board(privacy: str = "events") -> StatusBoard:
    """Return a board with all kinds of data."""
    board = StatusBoard(privacy)
    now = time.monotonic()
    telemetry = Telemetry()
    telemetry.count(frames=7, dropped=2, faces=3, events=1)
    telemetry.refuse(CropFault.BLURRED)
    telemetry.record("frame", 0.004)
    telemetry.record("frame", 3600.0)
    telemetry.record("detect_full", math.nan)
    telemetry.record("classify", 0.001)
    track = TrackedEmotion("cam0", 4, Box(1, 2, 3, 4), "happy", 0.83456, 1.0, "desk")
    telemetry.zones = ("desk", "door")
    telemetry.count_zones(["desk"], [track], 2.5)
    board.update_source(
        SourceStatus(
            "cam0", SourceState.WATCHING, now, None, 1, 2, (640, 480), now, 14.9, (track,), zones=("desk", "door")
        ),
    )
    board.watch_runtime("cam0", telemetry.snapshot)
    odd = 'quo"te\\ \n\udcff'
    board.update_source(SourceStatus(odd, SourceState.LOST, now - 60, "no frame: http://u:pw@cam/x", 1, 5))
    board.set_model(ModelStatus("fer-edge-s", "1.2.0", "int8", LABELS))
    board.set_update(UpdateStatus("shadow", "1.3.0", "1.3.0", 0.98765, "http://u:pw@host: too slow"))
    board.set_chip(ChipStatus(71.5, ("frequency_capped",), ("under_voltage",), 0.5))
    board.watch_sink(lambda: SinkStatus("console", sent=12))
    board.watch_sink(lambda: SinkStatus("mqtt", False, "Connection refused", 3, 4, 5))
    board.tell(EmotionEvent(EventKind.APPEARED, "cam0", time.time(), 1.0, 4, "happy", None, 0.83))
    board.tell(EmotionEvent(EventKind.SOURCE_LOST, odd, time.time(), 1.0, reason="no frame"))
    counts = FaceCounts(60.0, 3, 2, {"happy": 41.5})
    board.tell(EmotionEvent(EventKind.COUNTS, "cam0", time.time(), 60.0, counts=counts))
    board.set_ready()
    return board


@pytest.fixture(params=["events", "aggregate"])
def web(request: pytest.FixtureRequest) -> Iterator[WebServer]:
    with open_web(SETTINGS, filled_board(request.param)) as web:
        yield web


def metrics(web: WebServer) -> dict[str, float]:
    lines = ask(web, "/metrics").body.decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


@needs_promtool
def test_promtool_accepts_the_metrics(web: WebServer) -> None:
    text = ask(web, "/metrics").body
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@needs_promtool
def test_promtool_accepts_the_metrics_of_an_empty_board() -> None:
    with open_web(SETTINGS, StatusBoard()) as web:
        text = ask(web, "/metrics").body
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_metrics_have_the_values_of_the_board() -> None:
    with open_web(SETTINGS, filled_board()) as web:
        found = metrics(web)
    assert found['fer_edge_frames_total{source="cam0"}'] == 7
    assert found['fer_edge_frames_dropped_total{source="cam0"}'] == 2
    assert found['fer_edge_crops_refused_total{reason="blurred",source="cam0"}'] == 1
    assert found['fer_edge_source_up{source="cam0"}'] == 1
    assert found['fer_edge_source_reconnect_attempts_total{source="cam0"}'] == 2
    assert found['fer_edge_source_faces_in_sight{source="cam0"}'] == 1
    assert found['fer_edge_zone_faces_in_sight{source="cam0",zone="desk"}'] == 1
    assert found['fer_edge_zone_faces_in_sight{source="cam0",zone="door"}'] == 0
    assert found['fer_edge_zone_faces_entered_total{source="cam0",zone="desk"}'] == 1
    assert found['fer_edge_zone_emotion_seconds_total{emotion="happy",source="cam0",zone="desk"}'] == 2.5
    stage = 'source="cam0",stage="frame"'
    assert found[f'fer_edge_stage_duration_seconds_bucket{{le="0.0025",{stage}}}'] == 0
    assert found[f'fer_edge_stage_duration_seconds_bucket{{le="0.005",{stage}}}'] == 1
    assert found[f'fer_edge_stage_duration_seconds_bucket{{le="+Inf",{stage}}}'] == 2
    assert found[f"fer_edge_stage_duration_seconds_count{{{stage}}}"] == 2
    assert found['fer_edge_sink_up{sink="mqtt"}'] == 0
    assert found['fer_edge_sink_events_waiting{sink="mqtt"}'] == 4
    assert found["fer_edge_chip_temperature_celsius"] == 71.5
    assert found['fer_edge_chip_throttled{reason="frequency_capped"}'] == 1
    assert found['fer_edge_chip_throttled{reason="under_voltage"}'] == 0
    assert found["fer_edge_chip_budget_ratio"] == 0.5
    assert found['fer_edge_update_info{candidate="1.3.0",offered="1.3.0",phase="shadow"}'] == 1
    assert found["fer_edge_update_failing"] == 1
    assert found["fer_edge_resident_memory_bytes"] > 2**20
    info = 'bundle="fer-edge-s",bundle_version="1.2.0",variant="int8"'
    assert [name for name in found if name.startswith("fer_edge_build_info{" + info)]


def test_the_status_matches_the_schema(web: WebServer) -> None:
    answer = ask(web, "/api/status")
    jsonschema.validate(answer.json(), SCHEMA)
    assert {*SCHEMA["$defs"]["source"]["properties"]["state"]["enum"]} == {*SourceState}
    assert b"pw@" not in answer.body


FACE_METRICS = (
    "source_faces_in_sight",
    "faces_detected_total",
    "crops_refused_total",
    "events_total",
    "zone_faces_in_sight",
    "zone_faces_entered_total",
    "zone_emotion_seconds_total",
)


def test_aggregate_privacy_hides_single_faces() -> None:
    with open_web(SETTINGS, filled_board("aggregate")) as web:
        status = ask(web, "/api/status").json()
        assert [source["faces"] for source in status["sources"]] == [None, None]
        assert [source["events"] for source in status["sources"]] == [None, None]
        assert [source["zones"] for source in status["sources"]] == [None, None]
        assert [set(source["stages"]) for source in status["sources"]] == [{"frame"}, set()]
        assert [event["kind"] for event in status["events"]] == ["counts", "source_lost"]
        names = {name.partition("{")[0] for name in metrics(web)}
        assert not names & {f"fer_edge_{name}" for name in FACE_METRICS}
        assert "classify" not in str(metrics(web))
    with open_web(SETTINGS, filled_board()) as web:
        names = {name.partition("{")[0] for name in metrics(web)}
        assert names >= {f"fer_edge_{name}" for name in FACE_METRICS}


def test_the_history_is_in_the_order_of_the_labels() -> None:
    history = History()
    now = time.monotonic()
    track = TrackedEmotion("cam0", 4, Box(1, 2, 3, 4), "happy", 0.8, 1.0)
    history.add("cam0", [track], now - 2)
    history.add("cam0", [track], now)
    with open_web(SETTINGS, filled_board(), history) as web:
        found = ask(web, "/api/history").json()
    assert (found["interval_s"], found["emotions"]) == (60.0, list(LABELS))
    assert sum(interval["seconds"][LABELS.index("happy")] for interval in found["intervals"]) == pytest.approx(
        2, abs=0.2
    )
    assert sum(interval["watched_s"] for interval in found["intervals"]) == pytest.approx(2, abs=0.2)


def result(source: str, width: int = 64) -> FrameResult:
    gray = np.full((48, width), 90, dtype=np.uint8)
    track = TrackedEmotion(source, 1, Box(10, 10, 20, 20), "happy", 0.8, 0.0)
    return FrameResult(Frame(source, 0, 0.0, gray), (track,), ())


def test_previews_need_the_setting_and_a_delivering_source() -> None:
    board, previews = filled_board(), Previews(LABELS)
    previews.record(result("cam0"))
    previews.record(result("cam1"))
    with open_web(SETTINGS, board, previews=previews) as web:
        assert ask(web, "/preview/cam0.jpg").status == 404
    with open_web(WebSettings(True, port=0, preview=True), board, previews=previews) as web:
        answer = ask(web, "/preview/cam0.jpg")
        assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
        picture = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and picture.shape == (48, 64, 3)
        assert ask(web, "/preview/cam1.jpg").status == 404  # not a source
        assert ask(web, "/preview/../cam0.jpg").status == 404
        board.update_source(SourceStatus("cam0", SourceState.LOST, time.monotonic(), "gone"))
        assert ask(web, "/preview/cam0.jpg").status == 204  # no image now, which is not an error


def test_previews_are_encoded_once_and_limited_in_width() -> None:
    previews = Previews(LABELS)
    previews.record(result("cam0", 1920))
    first = previews.jpeg("cam0")
    assert first is not None and previews.jpeg("cam0") is first
    picture = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (24, 960, 3)
    previews.record(result("cam0"))
    assert previews.jpeg("cam0") is not first
    assert previews.jpeg("cam1") is None


ANY_TEXT = st.text(st.characters(), max_size=30)


@given(ANY_TEXT, ANY_TEXT, st.floats(), st.floats())
def test_no_name_and_no_number_raises(name: str, reason: str, number: float, other: float) -> None:
    board = StatusBoard()
    board.update_source(SourceStatus(name, SourceState.LOST, number, reason, last_frame_at=other, fps=other))
    board.set_chip(ChipStatus(number, (reason,), (), other))
    body = json_response(status_object(board.snapshot(), 30.0, preview=False)).body
    assert json.loads(body, parse_constant=pytest.fail)  # no NaN, which browsers refuse
    assert StatusMetrics(board, 30.0).text()


def test_a_real_pipeline_fills_the_page() -> None:
    with DemoDaemon(SETTINGS) as daemon:
        end = time.monotonic() + 60
        while not (status := ask(daemon.web, "/api/status").json())["sources"] or not status["sources"][0]["faces"]:
            assert time.monotonic() < end, status
            time.sleep(0.2)
        jsonschema.validate(status, SCHEMA)
        assert ask(daemon.web, "/healthz").status == 200
        text = ask(daemon.web, "/metrics").body
        assert b'fer_edge_stage_duration_seconds_count{source="demo",stage="classify"}' in text
        if shutil.which("promtool"):
            done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
