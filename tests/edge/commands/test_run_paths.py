"""Paths that are not UTF-8: OpenCV would end the interpreter with SIGSEGV, so it never gets one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge import AnnotatedVideo, InputError, open_source
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import assert_one_line, clean_environment, fer_edge

NOT_UTF8 = os.fsdecode(b"\xff\xfe")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes only on Linux")


@pytest.mark.parametrize("suffix", [".mp4", ".xyz", ""])
def test_a_film_whose_name_is_not_utf8_is_exit_2(tiny_bundle: Path, clip: Path, tmp_path: Path, suffix: str) -> None:
    shutil.copy(clip, tmp_path / (NOT_UTF8 + suffix))
    result = fer_edge("run", NOT_UTF8 + suffix, "--bundle", tiny_bundle, cwd=tmp_path)
    assert_one_line(result, 2, "the path is not valid UTF-8", "rename the file")


def test_a_video_is_not_written_to_a_path_that_is_not_utf8(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / NOT_UTF8).mkdir()
    for name in (f"{NOT_UTF8}.webm", f"{NOT_UTF8}/a.webm"):
        words = ("run", "demo", "--bundle", tiny_bundle, "--max-frames", 2, "--annotate", name)
        assert_one_line(fer_edge(*words, cwd=tmp_path), 2, "the path is not valid UTF-8")
    words = ("run", "demo", "--bundle", tiny_bundle, "--max-frames", 2, "--annotate", "a.webm")
    assert_one_line(fer_edge(*words, cwd=tmp_path / NOT_UTF8), 2, "the path is not valid UTF-8")
    assert [entry.name for entry in tmp_path.iterdir()] == [NOT_UTF8]
    assert list((tmp_path / NOT_UTF8).iterdir()) == []


def test_the_programming_interface_refuses_it_too(clip: Path, tmp_path: Path) -> None:
    film = Path(shutil.copy(clip, tmp_path / f"{NOT_UTF8}.mp4"))
    with pytest.raises(InputError, match="not valid UTF-8"):
        open_source(film)
    with pytest.raises(InputError, match="not valid UTF-8"):
        AnnotatedVideo(tmp_path / f"{NOT_UTF8}-2.webm", fps=15)


def test_images_are_read_by_any_name(tiny_bundle: Path, tmp_path: Path) -> None:
    import cv2

    from support.processes.edge_command import face_picture

    (tmp_path / f"{NOT_UTF8}.jpg").write_bytes(cv2.imencode(".jpg", face_picture())[1].tobytes())
    for words in (("run", f"{NOT_UTF8}.jpg"), ("predict", f"{NOT_UTF8}.jpg", "--annotate", NOT_UTF8)):
        result = fer_edge(*words, "--bundle", tiny_bundle, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr


def test_no_other_path_reaches_opencv() -> None:
    """Every call of OpenCV that takes a path is written with ``opencv_path``, or is a URL that was checked."""
    root = CHECKOUT / "edge" / "fer_edge"
    pattern = r"cv2\.(VideoCapture|VideoWriter|imread|imwrite|haveImageReader|CascadeClassifier)\((?!opencv_path\()"
    found = subprocess.run(
        ["grep", "-rnP", "--include=*.py", pattern, str(root)], capture_output=True, text=True, check=False,
        env=clean_environment(),
    ).stdout.splitlines()  # fmt: skip
    left = [line.partition(f"{root}/")[2] for line in found if ">>>" not in line and "... " not in line]
    assert sorted(line.partition(":")[0] for line in left) == ["sources/opencv_camera.py", "sources/stream/source.py"]
