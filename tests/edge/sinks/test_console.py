"""Sinks write whole lines without delay."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from fer_edge.errors import OutputError
from fer_edge.sinks.console import event_line
from fer_edge.sinks.event_json import encode_json_line
from fer_edge.sinks.line_file import LineFile
from fer_edge.sinks.queued import DirectSink
from fer_edge.types import EmotionEvent, EventKind

EVENT = EmotionEvent(EventKind.CHANGED, "cam0", 1.7e9, 12.34, 3, "happy", "neutral", 0.834)


def json_lines(target: str) -> DirectSink:
    return DirectSink(LineFile(target), encode_json_line, "events")


def test_lines_are_appended_and_readable_immediately(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for expected in (1, 2):
        with json_lines(str(path)) as sink:
            sink.emit(EVENT)
            lines = path.read_text().splitlines()  # before close, as a reader that follows the file
            assert len(lines) == expected
        sink.close()
    assert json.loads(lines[-1])["emotion"] == "happy"
    assert json.loads(lines[-1])["track"] == 3


def test_an_incomplete_last_line_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"v":1}\n{"v":1,"ki')
    with json_lines(str(path)) as sink:
        sink.emit(EVENT)
    lines = path.read_text().splitlines()
    assert lines[1] == '{"v":1,"ki'
    assert json.loads(lines[2])["kind"] == "changed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_device(tmp_path: Path) -> None:
    with json_lines("/dev/full") as sink, pytest.raises(OutputError, match="No space left"):
        sink.emit(EVENT)


def test_unwritable_path(tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "missing" / "events.jsonl"):
        with pytest.raises(OutputError, match="cannot open"):
            json_lines(str(target))


def test_standard_output_stays_open(capfd: pytest.CaptureFixture[str]) -> None:
    with json_lines("-") as sink:
        sink.emit(EVENT)
    os.write(1, b"after\n")
    first, second = capfd.readouterr().out.splitlines()
    assert json.loads(first)["source"] == "cam0"
    assert second == "after"


def test_console_line_is_readable() -> None:
    assert event_line(EVENT) == "   12.34 s  cam0  face 3  changed   neutral -> happy  83%"
    left = EmotionEvent(EventKind.LEFT, "cam0", 1.7e9, 20.0, 3, previous="happy")
    assert event_line(left) == "   20.00 s  cam0  face 3  left      was happy"
    reason = "cam0: rtsp://u:secret@h/x: no data for 5.0 s"
    lost = EmotionEvent(EventKind.SOURCE_LOST, "cam0", 1.7e9, 20.0, reason=reason)
    assert event_line(lost) == "   20.00 s  cam0  lost      rtsp://u:***@h/x: no data for 5.0 s"
    local = time.strftime("%H:%M:%S", time.localtime(1.7e9))
    assert event_line(left, local_time=True) == f"{local}  cam0  face 3  left      was happy"
    assert event_line(EmotionEvent(EventKind.HEARTBEAT, "cam0", 1.7e9, 20.0)) == "   20.00 s  cam0  heartbeat"
