"""``fer-edge run`` as a process: its outputs and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from importlib.resources import files
from pathlib import Path

import cv2
import pytest

from support.processes.edge_command import (
    assert_one_line,
    clean_environment,
    command_line,
    demo_pixels,
    face_picture,
    fer_edge,
    lines_of,
)

STATS_KEYS = [
    *("frames", "dropped", "faces", "appeared", "events", "refused"),
    *("wall_s", "cpu_s", "pipeline_cpu_s", "rss_mb", "interpreter", "stages", "zones"),
]


def leftovers(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".") or ".tmp" in entry.name]


def test_video_to_events_trace_stats_and_clip(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    result = fer_edge(
        *("run", clip, "--bundle", tiny_bundle, "--events", "e.jsonl", "--trace", "t.jsonl"),
        *("--stats", "s.json", "--annotate", "a.webm"),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    trace = lines_of(tmp_path / "t.jsonl")
    assert [line["frame"] for line in trace] == list(range(30))
    assert [line["t"] for line in trace] == pytest.approx([i / 15 for i in range(30)], abs=0.002)
    (track,) = trace[-1]["tracks"]
    assert list(track) == ["id", "box", "emotion", "confidence"]
    assert 0 <= track["confidence"] <= 1
    events = lines_of(tmp_path / "e.jsonl")
    assert [events[0]["kind"], events[-1]["kind"]] == ["appeared", "left"]
    assert {event["source"] for event in events} == {"clip.mp4"}
    stats = json.loads((tmp_path / "s.json").read_text())
    assert list(stats) == STATS_KEYS
    assert (stats["frames"], stats["dropped"], stats["events"]) == (30, 0, len(events))
    assert 0 < stats["pipeline_cpu_s"] <= stats["cpu_s"]
    assert list(stats["refused"]) == ["small", "cut", "overexposed", "low_contrast", "blurred", "noisy"]
    assert all(list(stage) == ["p50_ms", "p95_ms", "p99_ms", "calls"] for stage in stats["stages"].values())
    video = cv2.VideoCapture(str(tmp_path / "a.webm"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    assert "30 frames, 0 dropped, 1 face seen, " in result.stdout
    assert leftovers(tmp_path) == []


def test_the_same_file_gives_the_same_trace(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert fer_edge("run", clip, "--bundle", tiny_bundle, "--trace", name, cwd=tmp_path).returncode == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_events_on_standard_output_are_only_json(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    result = fer_edge("run", clip, "--bundle", tiny_bundle, "--events", "-", cwd=tmp_path)
    assert result.returncode == 0
    kinds = [json.loads(line)["kind"] for line in result.stdout.splitlines()]
    assert (kinds[0], kinds[-1]) == ("appeared", "left")


def test_limits_use_the_files_media_time(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    run = ("run", clip, "--bundle", tiny_bundle, "--trace", "t.jsonl")
    for flags, expected in (
        (("--max-frames", 7), list(range(7))),
        (("--duration", 1), list(range(15))),
        (("--max-fps", 5), list(range(0, 30, 3))),
        (("--max-fps", 5, "--max-frames", 2), [0, 3]),
    ):
        assert fer_edge(*run, *flags, cwd=tmp_path).returncode == 0
        assert [line["frame"] for line in lines_of(tmp_path / "t.jsonl")] == expected


def test_images_and_folders(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, pixels in enumerate([face_picture(), *demo_pixels(1)]):
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    for source, frames in ((folder, 2), (folder / "0.png", 1)):
        result = fer_edge("run", source, "--bundle", tiny_bundle, "--stats", "s.json", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        stats = json.loads((tmp_path / "s.json").read_text())
        assert (stats["frames"], stats["faces"]) == (frames, 1)


def test_a_face_in_a_single_picture_gives_an_event(tiny_bundle: Path, tmp_path: Path) -> None:
    picture = files("fer_edge") / "assets" / "astronaut.jpg"
    (tmp_path / "photo.jpg").write_bytes(picture.read_bytes())
    flags = ("--bundle", tiny_bundle, "--events", "e.jsonl", "--trace", "t.jsonl")
    result = fer_edge("run", "photo.jpg", *flags, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = lines_of(tmp_path / "t.jsonl")
    (track,) = line["tracks"]
    appeared, left = lines_of(tmp_path / "e.jsonl")
    assert (appeared["kind"], appeared["track"], appeared["emotion"]) == ("appeared", track["id"], track["emotion"])
    assert (left["kind"], left["previous"]) == ("left", track["emotion"])
    assert "appeared" in result.stdout


def test_several_sources_run_in_parallel(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    result = fer_edge(
        *("run", clip, "demo", "--bundle", tiny_bundle, "--max-frames", 25),
        *("--trace", "t.jsonl", "--stats", "s.json"),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    frames: dict[str, list[int]] = {}
    for line in lines_of(tmp_path / "t.jsonl"):
        frames.setdefault(line["source"], []).append(line["frame"])
    assert frames == {"clip.mp4": list(range(25)), "demo": list(range(25))}
    stats = json.loads((tmp_path / "s.json").read_text())
    assert stats["frames"] == 50
    assert {name: table["frames"] for name, table in stats["sources"].items()} == {"clip.mp4": 25, "demo": 25}
    assert stats["refused"] == dict.fromkeys(stats["sources"]["demo"]["refused"], 0)


def test_a_damaged_file_ends_only_its_own_source(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    cv2.imwrite(str(tmp_path / "imgs" / "1.jpg"), face_picture())
    (tmp_path / "imgs" / "2.jpg").write_text("no image")
    result = fer_edge("run", "imgs", clip, "--bundle", tiny_bundle, "--trace", "t.jsonl", cwd=tmp_path)
    assert_one_line(result, 2, "2.jpg")
    assert "31 frames" in result.stdout
    seen = [line["source"] for line in lines_of(tmp_path / "t.jsonl")]
    assert (seen.count("imgs"), seen.count("clip.mp4")) == (1, 30)
    # An unusable source is refused before anything is opened.
    refused = fer_edge("run", "nothing.mp4", clip, "--bundle", tiny_bundle, "--trace", "new.jsonl", cwd=tmp_path)
    assert_one_line(refused, 2, "nothing.mp4")
    assert not (tmp_path / "new.jsonl").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_failing_output_ends_every_source(tiny_bundle: Path, tmp_path: Path) -> None:
    flags = ("--bundle", tiny_bundle, "--trace", "/dev/full", "--realtime", "--stats", "s.json")
    assert_one_line(fer_edge("run", "demo", "demo", *flags, "--events", "/dev/full", cwd=tmp_path), 6, "/dev/full")
    streams = json.loads((tmp_path / "s.json").read_text())["sources"].values()
    assert all(stream["frames"] + stream["dropped"] < 250 for stream in streams)  # the scene has 300 frames


@pytest.mark.slow
def test_frame_age_is_reported_for_realtime_sources(tiny_bundle: Path, tmp_path: Path) -> None:
    run = ("run", "demo", "--bundle", tiny_bundle, "--max-frames", 45, "--stats", "s.json")
    assert fer_edge(*run, "--realtime", cwd=tmp_path).returncode == 0
    stages = json.loads((tmp_path / "s.json").read_text())["stages"]
    assert stages["age"]["calls"] == 45
    assert stages["age_at_event"]["calls"] >= 1
    assert stages["frame"]["p50_ms"] <= stages["age"]["p50_ms"] < 5000
    assert fer_edge(*run, cwd=tmp_path).returncode == 0
    assert "age" not in json.loads((tmp_path / "s.json").read_text())["stages"]


def test_config_environment_and_flags(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[source]\nuris = ["demo"]\nmax_fps = 5\n[output]\ntrace = "t.jsonl"\n')
    run = ("run", "--config", "c.toml", "--bundle", tiny_bundle, "--max-frames", "2")
    assert fer_edge(*run, cwd=tmp_path).returncode == 0
    assert [line["frame"] for line in lines_of(tmp_path / "t.jsonl")] == [0, 3]
    assert fer_edge(*run, "--max-fps", 3, cwd=tmp_path).returncode == 0
    assert [line["frame"] for line in lines_of(tmp_path / "t.jsonl")] == [0, 5]
    shown = fer_edge(*run, "--print-config", cwd=tmp_path)
    (tmp_path / "shown.toml").write_text(shown.stdout)
    again = fer_edge("run", "--config", "shown.toml", "--print-config", cwd=tmp_path)
    assert again.stdout == shown.stdout
    assert "max_fps = 5.0" in shown.stdout


# Signals


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_line(*arguments),
        cwd=cwd,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_run_finishes_every_output(
    tiny_bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(
        *("run", "demo", "--realtime", "--bundle", tiny_bundle, "--events", "e.jsonl"),
        *("--trace", "t.jsonl", "--stats", "s.json", "--annotate", "a.webm"),
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert "appeared" in process.stdout.readline()  # a face was found: it is running
    process.send_signal(number)
    rest, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (
        0,
        "fer-edge: the people in view are recorded in a.webm (output.annotate)\n",
    )
    assert "left" in rest
    trace = lines_of(tmp_path / "t.jsonl")
    stats = json.loads((tmp_path / "s.json").read_text())
    assert 0 < stats["frames"] == len(trace) < 290
    assert lines_of(tmp_path / "e.jsonl")[-1]["kind"] == "left"
    video = cv2.VideoCapture(str(tmp_path / "a.webm"))
    assert video.read()[0]
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= len(trace)
    assert leftovers(tmp_path) == []


def test_ctrl_c_before_any_result(tiny_bundle: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "e.jsonl")  # opening the FIFO for writing waits for a reader, before the first frame
    process = start("run", "demo", "--bundle", tiny_bundle, "--events", "e.jsonl", "--stats", "s.json", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not any(entry.name.startswith(".s.json") for entry in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    reader = os.open(tmp_path / "e.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    assert process.wait(timeout=120) == 130
    os.close(reader)
    assert leftovers(tmp_path) == []
    assert process.communicate()[1].count("\n") <= 1
