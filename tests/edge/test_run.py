"""``fer-edge run`` as a process: what it writes, how it ends, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import pytest

from support.edge_command import (
    assert_one_line,
    clean_environment,
    command_line,
    demo_pixels,
    face_picture,
    fer_edge,
    write_video,
)

STATS_KEYS = [
    *("frames", "dropped", "faces", "events", "refused"),
    *("wall_s", "cpu_s", "pipeline_cpu_s", "rss_mb", "stages"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the demo scene with a face, 15 frames per second."""
    return write_video(tmp_path_factory.mktemp("media") / "clip.mp4", 30)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def leftovers(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".") or ".tmp" in entry.name]


def test_video_to_events_trace_stats_and_clip(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    result = fer_edge(
        *("run", clip, "--bundle", tiny_bundle, "--events", "e.jsonl", "--trace", "t.jsonl"),
        *("--stats", "s.json", "--annotate", "a.mp4"),
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
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    assert "30 frames, 0 dropped" in result.stdout
    assert leftovers(tmp_path) == []


def test_the_same_file_gives_the_same_trace(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert fer_edge("run", clip, "--bundle", tiny_bundle, "--trace", name, cwd=tmp_path).returncode == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_events_on_standard_output_are_nothing_but_json(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    result = fer_edge("run", clip, "--bundle", tiny_bundle, "--events", "-", cwd=tmp_path)
    assert result.returncode == 0
    kinds = [json.loads(line)["kind"] for line in result.stdout.splitlines()]
    assert (kinds[0], kinds[-1]) == ("appeared", "left")


def test_limits_go_by_the_files_own_time(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
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


def test_a_face_in_a_single_picture_is_told(tiny_bundle: Path, tmp_path: Path) -> None:
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
    # It is the face that predict finds.
    answer = json.loads(fer_edge("predict", "photo.jpg", "--json", "--bundle", tiny_bundle, cwd=tmp_path).stdout)
    (face,) = answer["images"][0]["faces"]
    assert track["box"] == pytest.approx(face["box"], abs=2)
    assert track["confidence"] == pytest.approx(face["confidence"], abs=0.05)


def test_several_sources_run_side_by_side(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
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


def test_a_damaged_file_ends_its_own_stream_alone(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    cv2.imwrite(str(tmp_path / "imgs" / "1.jpg"), face_picture())
    (tmp_path / "imgs" / "2.jpg").write_text("no image")
    result = fer_edge("run", "imgs", clip, "--bundle", tiny_bundle, "--trace", "t.jsonl", cwd=tmp_path)
    assert_one_line(result, 2, "2.jpg")
    assert "31 frames" in result.stdout
    seen = [line["source"] for line in lines_of(tmp_path / "t.jsonl")]
    assert (seen.count("imgs"), seen.count("clip.mp4")) == (1, 30)
    # One that cannot be used at all is refused before anything is touched.
    refused = fer_edge("run", "nothing.mp4", clip, "--bundle", tiny_bundle, "--trace", "new.jsonl", cwd=tmp_path)
    assert_one_line(refused, 2, "nothing.mp4")
    assert not (tmp_path / "new.jsonl").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_fails_ends_every_stream(tiny_bundle: Path, tmp_path: Path) -> None:
    flags = ("--bundle", tiny_bundle, "--trace", "/dev/full", "--realtime", "--stats", "s.json")
    assert_one_line(fer_edge("run", "demo", "demo", *flags, "--events", "/dev/full", cwd=tmp_path), 6, "/dev/full")
    streams = json.loads((tmp_path / "s.json").read_text())["sources"].values()
    assert all(stream["frames"] + stream["dropped"] < 250 for stream in streams)  # the scene has 300


def test_the_age_of_frames_is_told_for_what_is_paced_like_a_camera(tiny_bundle: Path, tmp_path: Path) -> None:
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
def test_a_signal_in_the_middle_finishes_every_output(
    tiny_bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(
        *("run", "demo", "--realtime", "--bundle", tiny_bundle, "--events", "e.jsonl"),
        *("--trace", "t.jsonl", "--stats", "s.json", "--annotate", "a.mp4"),
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert "appeared" in process.stdout.readline()  # a face has been seen: it runs
    process.send_signal(number)
    rest, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert "left" in rest
    trace = lines_of(tmp_path / "t.jsonl")
    stats = json.loads((tmp_path / "s.json").read_text())
    assert 0 < stats["frames"] == len(trace) < 290
    assert lines_of(tmp_path / "e.jsonl")[-1]["kind"] == "left"
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert video.read()[0]
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= len(trace)
    assert leftovers(tmp_path) == []


def test_ctrl_c_before_any_result(tiny_bundle: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "e.jsonl")  # opening it for writing waits for a reader, before the first frame
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


# Bad input


def make_bad_sources(folder: Path, clip: Path) -> dict[str, str]:
    """Each bad source by its name in ``folder``, and a part of what is said of it."""
    data = clip.read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("this is no image\n")
    jpeg = cv2.imencode(".jpg", face_picture())[1].tobytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "no-images").mkdir()
    (folder / "no-images" / "notes.txt").touch()
    return {
        "missing.mp4": "no such file",
        "empty.mp4": "empty",
        "cut.mp4": "cut short",
        "text.mp4": "not a video",
        "empty.jpg": "empty",
        "text.jpg": "not an image",
        "cut.jpg": "cut short",
        "no-images": "holds no images",
        "ftp://camera/1": "ftp sources are not taken",
        "rtsp:///1": "not a URL",
        "http://camera:99999/": "not a URL",
    }


def test_bad_sources_end_with_one_line_and_leave_nothing(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    bad = make_bad_sources(tmp_path, clip)
    before = sorted(tmp_path.iterdir())
    for source, said in bad.items():
        result = fer_edge("run", source, "--bundle", tiny_bundle, "--stats", "s.json", cwd=tmp_path)
        assert_one_line(result, 2, source, said)
        if (tmp_path / "s.json").exists():  # an image is read when its turn comes: the run had begun
            assert source in ("empty.jpg", "text.jpg", "cut.jpg")
            (tmp_path / "s.json").unlink()
        assert sorted(tmp_path.iterdir()) == before


def test_video_cut_short_keeps_what_was_seen(tiny_bundle: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 30, code="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = fer_edge("run", path, "--bundle", tiny_bundle, "--trace", "t.jsonl", cwd=tmp_path)
    assert_one_line(result, 2, "clip.avi", "cut short")
    assert 10 <= len(lines_of(tmp_path / "t.jsonl")) <= 20


def test_missing_camera_is_exit_3(tiny_bundle: Path, tmp_path: Path) -> None:
    for source in ("97", "/dev/video97"):
        result = fer_edge("run", source, "--bundle", tiny_bundle, "--trace", "t.jsonl", cwd=tmp_path)
        assert_one_line(result, 3, "/dev/video97")
    assert list(tmp_path.iterdir()) == []


def test_bad_usage_is_exit_2(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[source]\nrotate = 45\n")
    local = Path(shutil.copy(clip, tmp_path / "clip.mp4"))
    bundle = ("--bundle", tiny_bundle)
    assert_one_line(fer_edge("run", *bundle, cwd=tmp_path), 2, "no source")
    assert_one_line(fer_edge("run", "--config", "bad.toml", cwd=tmp_path), 2, "source.rotate", "0, 90, 180, 270")
    assert_one_line(fer_edge("run", "--config", "none.toml", cwd=tmp_path), 2, "none.toml")
    assert_one_line(fer_edge("run", "demo", "--annotate", "a.avi", *bundle, cwd=tmp_path), 2, "a.avi", ".mp4")
    assert_one_line(fer_edge("run", "demo", "demo", "--annotate", "a.mp4", *bundle, cwd=tmp_path), 2, "one source")
    assert_one_line(fer_edge("run", "clip.mp4", "--annotate", "./clip.mp4", *bundle, cwd=tmp_path), 2, "the source")
    assert_one_line(fer_edge("run", "demo", "--trace", "x", "--stats", "x", *bundle, cwd=tmp_path), 2, "--trace")
    assert local.read_bytes() == clip.read_bytes()
    assert fer_edge("run", "demo", "--duration", "-1", cwd=tmp_path).returncode == 2


def test_no_output_overwrites_what_the_run_reads(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    (folder / "imgs").mkdir(parents=True)
    shutil.copy(clip, folder / "film.mp4")
    (folder / "link.mp4").symlink_to("film.mp4")
    cv2.imwrite(str(folder / "imgs" / "2.jpg"), face_picture())
    shutil.copytree(tiny_bundle, folder / "bundle")
    (folder / "c.toml").write_text('[source]\nuris = ["demo"]\n')
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for said, arguments in {
        "the source": ("film.mp4", "--annotate", "link.mp4"),
        "is the source": ("link.mp4", "--trace", "../here/film.mp4"),
        "the source imgs": ("imgs", "--trace", "imgs/2.jpg"),
        "the configuration": ("--config", "c.toml", "--stats", "./c.toml"),
        "the model bundle": ("demo", "--trace", "bundle/manifest.json"),
        "is --trace": ("demo", "--trace", "x", "--stats", "../here/x"),
    }.items():
        result = fer_edge("run", *arguments, "--bundle", "bundle", "--max-frames", 1, cwd=folder)
        assert_one_line(result, 2, said)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    result = fer_edge("run", "demo", "--stats", "demo", "--bundle", "bundle", "--max-frames", 1, cwd=folder)
    assert result.returncode == 0  # no file is read for that source


@pytest.mark.parametrize("flag", ["--trace", "--stats", "--annotate"])
def test_only_events_go_to_standard_output(tmp_path: Path, flag: str) -> None:
    assert_one_line(fer_edge("run", "demo", flag, "-", cwd=tmp_path), 2, flag, "only --events")
    assert list(tmp_path.iterdir()) == []


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    assert_one_line(fer_edge("run", "rtsp://u:secret@127.0.0.1:1/x", cwd=tmp_path), 3, "rtsp://u:***@127.0.0.1:1/x")
    (tmp_path / "c.toml").write_text('[source]\nuris = ["rtsp://u:secret@h/x"]\n')
    (tmp_path / "bad.toml").write_text('[source]\nuris = "rtsp://u:secret@h/x"\n')
    shown = fer_edge("run", "--config", "c.toml", "--print-config", cwd=tmp_path)
    assert "rtsp://u:***@h/x" in shown.stdout
    for result in (
        shown,
        fer_edge("run", "rtsp://u:secret@127.0.0.1:1/x", cwd=tmp_path),
        fer_edge("run", "rtsp://u:secret@h:99999/x", cwd=tmp_path),
        fer_edge("run", "--config", "bad.toml", cwd=tmp_path),
    ):
        assert "secret" not in result.stdout + result.stderr


@pytest.mark.parametrize(("flag", "said"), [("--duration", "a number above 0"), ("--max-frames", "a whole number")])
def test_numbers_that_are_none_are_said_in_words(tmp_path: Path, flag: str, said: str) -> None:
    for text in ("abc", "0", "nan"):
        result = fer_edge("run", "demo", flag, text, cwd=tmp_path)
        assert result.returncode == 2
        assert said in result.stderr
        assert "_positive" not in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_stats_are_kept_when_another_output_fails(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    flags = ("--bundle", tiny_bundle, "--max-frames", 3, "--stats", "s.json", "--trace", "/dev/full")
    assert_one_line(fer_edge("run", clip, *flags, cwd=tmp_path), 6, "/dev/full")
    assert json.loads((tmp_path / "s.json").read_text())["frames"] == 3
    # What failed first, a damaged image, is what is told.
    (tmp_path / "imgs").mkdir()
    cv2.imwrite(str(tmp_path / "imgs" / "1.jpg"), face_picture())
    (tmp_path / "imgs" / "2.jpg").write_text("no image")
    assert_one_line(fer_edge("run", "imgs", *flags, cwd=tmp_path), 2, "2.jpg")
    assert json.loads((tmp_path / "s.json").read_text())["frames"] == 1


def test_refused_model_is_exit_4_and_touches_no_output(tiny_bundle: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny_bundle, tmp_path / "broken")
    with (broken / "int8.tflite").open("ab") as stream:
        stream.write(b"x")
    (tmp_path / "t.jsonl").write_text("older\n")
    result = fer_edge("run", "demo", "--bundle", broken, "--trace", "t.jsonl", cwd=tmp_path)
    assert_one_line(result, 4, "int8")
    result = fer_edge("run", "demo", "--bundle", tiny_bundle, "--variant", "int3", cwd=tmp_path)
    assert_one_line(result, 4, "int3", "float32")
    assert (tmp_path / "t.jsonl").read_text() == "older\n"


# Outputs that cannot be written


@pytest.mark.parametrize("flag", ["--events", "--trace", "--stats", "--annotate"])
def test_output_in_a_missing_folder(tiny_bundle: Path, tmp_path: Path, flag: str) -> None:
    result = fer_edge("run", "demo", "--bundle", tiny_bundle, flag, "missing/out.mp4", cwd=tmp_path)
    assert_one_line(result, 6, "missing/out.mp4")
    assert result.stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_device_is_exit_6_and_the_device_stays(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    for flag in ("--events", "--trace", "--stats"):
        result = fer_edge("run", clip, "--bundle", tiny_bundle, flag, "/dev/full", cwd=tmp_path)
        assert_one_line(result, 6, "/dev/full", "No space left")
    with Path("/dev/full").open("w") as full:
        result = fer_edge("run", clip, "--bundle", tiny_bundle, cwd=tmp_path, stdout=full.fileno())
    assert_one_line(result, 6, "standard output")
    assert Path("/dev/full").is_char_device()


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(tiny_bundle: Path, clip: Path, small_disk: Path) -> None:
    (small_disk / "old.jsonl").write_text("older\n")
    (small_disk / "filler").write_bytes(bytes(100 * 1024))
    result = fer_edge("run", clip, "--bundle", tiny_bundle, "--annotate", "a.mp4", cwd=small_disk)
    assert_one_line(result, 6, "a.mp4", "disk full")
    (small_disk / "filler").write_bytes(bytes(116 * 1024))
    (small_disk / "filler2").write_bytes(bytes(8 * 1024))  # to the last page
    result = fer_edge("run", clip, "--bundle", tiny_bundle, "--trace", "old.jsonl", cwd=small_disk)
    assert_one_line(result, 6, "old.jsonl", "No space left")
    assert (small_disk / "old.jsonl").read_text() == "older\n"
    assert sorted(entry.name for entry in small_disk.iterdir()) == ["filler", "filler2", "old.jsonl"]
