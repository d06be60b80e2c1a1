"""``fer-edge run`` as a process: bad input, and outputs that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import pytest

from support.processes.edge_command import assert_one_line, face_picture, fer_edge, lines_of, write_video

# Bad input


def make_bad_sources(folder: Path, clip: Path) -> dict[str, str]:
    """Return the bad sources in ``folder`` by name, each with a part of its error message."""
    data = clip.read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    (folder / "text.mp4").write_text("not a video\n" * 50)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not an image\n")
    jpeg = cv2.imencode(".jpg", face_picture())[1].tobytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "no-images").mkdir()
    (folder / "no-images" / "notes.txt").touch()
    return {
        "missing.mp4": "no such file",
        "empty.mp4": "empty",
        "cut.mp4": "incomplete",
        "text.mp4": "not a readable video",
        "empty.jpg": "empty",
        "text.jpg": "not a readable image",
        "cut.jpg": "cut short",
        "no-images": "contains no images",
        "ftp://camera/1": "ftp sources are not supported",
        "rtsp:///1": "not a valid stream URL",
        "http://camera:99999/": "not a valid stream URL",
    }


@pytest.mark.slow
def test_bad_sources_end_with_one_line_and_leave_nothing(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    bad = make_bad_sources(tmp_path, clip)
    before = sorted(tmp_path.iterdir())
    for source, said in bad.items():
        result = fer_edge("run", source, "--bundle", tiny_bundle, "--stats", "s.json", cwd=tmp_path)
        assert_one_line(result, 2, source, said)
        if (tmp_path / "s.json").exists():  # an image is read during the run, not before
            assert source in ("empty.jpg", "text.jpg", "cut.jpg")
            (tmp_path / "s.json").unlink()
        assert sorted(tmp_path.iterdir()) == before


def test_an_incomplete_video_keeps_its_results(tiny_bundle: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 30, code="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = fer_edge("run", path, "--bundle", tiny_bundle, "--trace", "t.jsonl", cwd=tmp_path)
    assert_one_line(result, 2, "clip.avi", "incomplete")
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
    assert_one_line(fer_edge("run", "demo", "demo", "--annotate", "a.webm", *bundle, cwd=tmp_path), 2, "one source")
    assert_one_line(fer_edge("run", "clip.mp4", "--annotate", "./clip.mp4", *bundle, cwd=tmp_path), 2, "the source")
    assert_one_line(fer_edge("run", "demo", "--trace", "x", "--stats", "x", *bundle, cwd=tmp_path), 2, "--trace")
    assert local.read_bytes() == clip.read_bytes()
    assert fer_edge("run", "demo", "--duration", "-1", cwd=tmp_path).returncode == 2


def test_no_output_overwrites_an_input(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    (folder / "imgs").mkdir(parents=True)
    shutil.copy(clip, folder / "film.mp4")
    (folder / "link.mp4").symlink_to("film.mp4")
    cv2.imwrite(str(folder / "imgs" / "2.jpg"), face_picture())
    shutil.copytree(tiny_bundle, folder / "bundle")
    (folder / "c.toml").write_text('[source]\nuris = ["demo"]\n')
    (folder / "yunet.onnx").write_bytes(b"model")
    (folder / "y.toml").write_text('[detector]\nkind = "yunet"\nmodel = "yunet.onnx"\n')
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for said, arguments in {
        "the model of the detector": ("demo", "--config", "y.toml", "--events", "./yunet.onnx"),
        "the source": ("film.mp4", "--annotate", "link.mp4"),
        "is also the source": ("link.mp4", "--trace", "../here/film.mp4"),
        "the source imgs": ("imgs", "--trace", "imgs/2.jpg"),
        "the configuration": ("--config", "c.toml", "--stats", "./c.toml"),
        "the model bundle": ("demo", "--trace", "bundle/manifest.json"),
        "is also --trace": ("demo", "--trace", "x", "--stats", "../here/x"),
    }.items():
        result = fer_edge("run", *arguments, "--bundle", "bundle", "--max-frames", 1, cwd=folder)
        assert_one_line(result, 2, said)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    result = fer_edge("run", "demo", "--stats", "demo", "--bundle", "bundle", "--max-frames", 1, cwd=folder)
    assert result.returncode == 0  # that source reads no file


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
def test_bad_numbers_are_explained(tmp_path: Path, flag: str, said: str) -> None:
    for text in ("abc", "0", "nan"):
        result = fer_edge("run", "demo", flag, text, cwd=tmp_path)
        assert result.returncode == 2
        assert said in result.stderr
        assert "_positive" not in result.stderr


@pytest.mark.parametrize("text", ["inf", "1e400", "1e308", "1e10"])
@pytest.mark.parametrize(("command", "flag"), [(("run", "demo"), "--duration"), (("demo",), "--seconds")])
def test_infinite_and_huge_times_are_refused(tmp_path: Path, command: tuple[str, ...], flag: str, text: str) -> None:
    result = fer_edge(*command, flag, text, cwd=tmp_path)
    assert_one_line(result, 2, f"argument {flag}: must be a number above 0 and at most 1000000000, not '{text}'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_stats_are_kept_when_another_output_fails(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    flags = ("--bundle", tiny_bundle, "--max-frames", 3, "--stats", "s.json", "--trace", "/dev/full")
    assert_one_line(fer_edge("run", clip, *flags, cwd=tmp_path), 6, "/dev/full")
    assert json.loads((tmp_path / "s.json").read_text())["frames"] == 3
    # The first failure, a damaged image, is reported.
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
    result = fer_edge("run", "demo", "--bundle", tiny_bundle, flag, "missing/out.webm", cwd=tmp_path)
    assert_one_line(result, 6, "missing/out.webm")
    assert result.stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_exit_6_and_the_device_remains(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    for flag in ("--events", "--trace", "--stats"):
        result = fer_edge("run", clip, "--bundle", tiny_bundle, flag, "/dev/full", cwd=tmp_path)
        assert_one_line(result, 6, "/dev/full", "No space left")
    with Path("/dev/full").open("w") as full:
        result = fer_edge("run", clip, "--bundle", tiny_bundle, cwd=tmp_path, stdout=full.fileno())
    assert_one_line(result, 6, "standard output")
    assert Path("/dev/full").is_char_device()


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """Return a file system of 128 KiB."""
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
    result = fer_edge("run", clip, "--bundle", tiny_bundle, "--annotate", "a.webm", cwd=small_disk)
    assert_one_line(result, 6, "a.webm", "could not be written")
    (small_disk / "filler").write_bytes(bytes(116 * 1024))
    (small_disk / "filler2").write_bytes(bytes(8 * 1024))  # down to the last page
    result = fer_edge("run", clip, "--bundle", tiny_bundle, "--trace", "old.jsonl", cwd=small_disk)
    assert_one_line(result, 6, "old.jsonl", "No space left")
    assert (small_disk / "old.jsonl").read_text() == "older\n"
    assert sorted(entry.name for entry in small_disk.iterdir()) == ["filler", "filler2", "old.jsonl"]
