"""``source.max_pixels``: larger pictures are refused before they are decoded."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.images.headers import image_size
from fer_edge.types import UInt8Array
from support.cameras.mjpeg_server import mjpeg_server
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge

MAX_RSS_MIB = 400
"""A run without any picture takes about 150 MiB, and one with a picture of 10,000 x 10,000 pixels 700 MiB."""


WRITE_FILM = """
import sys, cv2, numpy as np
writer = cv2.VideoWriter(sys.argv[1], cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 5, (10000, 10000))
writer.write(np.zeros((10000, 10000, 3), np.uint8))
writer.release()
"""


def write_large_film(path: Path) -> Path:
    """Write a film with one picture of 10,000 x 10,000 pixels.

    In another process: FFmpeg's limit, which a source sets, holds for the rest of this one.
    """
    subprocess.run([sys.executable, "-c", WRITE_FILM, str(path)], check=True, timeout=120)
    return path


def peak_mib(*words: object, cwd: Path) -> tuple[int, subprocess.CompletedProcess[str]]:
    """Run the command and return the peak of its memory, with its result."""
    measured = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode;"
        " print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", measured, *command_line(*words)],
        cwd=cwd, env=clean_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return int(result.stdout.rpartition("peak ")[2]) >> 10, result


def test_a_large_film_is_refused_before_it_is_decoded(tiny_bundle: Path, tmp_path: Path) -> None:
    write_large_film(tmp_path / "large.avi")
    peak, result = peak_mib("run", "large.avi", "--bundle", tiny_bundle, cwd=tmp_path)
    assert_one_line(result, 2, "large.avi", "10000x10000", "source.max_pixels")
    assert peak < MAX_RSS_MIB


@pytest.mark.slow
def test_a_picture_that_is_larger_than_the_header_says_is_not_decoded(tiny_bundle: Path, tmp_path: Path) -> None:
    jpeg = write_large_film(tmp_path / "large.avi").read_bytes()
    jpeg = jpeg[jpeg.index(b"\xff\xd8") : jpeg.rindex(b"\xff\xd9") + 2]
    small = cv2.imencode(".jpg", np.zeros((480, 640), np.uint8))[1].tobytes()
    (tmp_path / "grows.mjpeg").write_bytes(small * 5 + jpeg)
    peak, result = peak_mib("run", "grows.mjpeg", "--bundle", tiny_bundle, cwd=tmp_path)
    assert result.returncode in (0, 2), result.stderr
    assert "Traceback" not in result.stderr
    assert peak < MAX_RSS_MIB


def encoded(suffix: str, picture: UInt8Array) -> bytes:
    if not cv2.haveImageWriter(suffix):
        pytest.skip(f"OpenCV {cv2.__version__} does not write {suffix}")
    return cv2.imencode(suffix, picture)[1].tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".pgm", ".tiff", ".ras", ".avif"])
def test_a_large_image_is_refused_before_it_is_decoded(tiny_bundle: Path, tmp_path: Path, suffix: str) -> None:
    picture = np.zeros((5000, 5000), np.uint8)
    (tmp_path / f"large{suffix}").write_bytes(encoded(suffix, picture))
    result = fer_edge("run", f"large{suffix}", "--bundle", tiny_bundle, cwd=tmp_path)
    assert_one_line(result, 2, f"large{suffix}", "5000x5000", "source.max_pixels")
    result = fer_edge("predict", f"large{suffix}", "--bundle", tiny_bundle, cwd=tmp_path)
    assert_one_line(result, 2, f"large{suffix}", "5000x5000", "source.max_pixels")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tiff", ".ras", ".avif"])
def test_headers_say_the_size(suffix: str) -> None:
    picture = np.full((30, 50, 3), 9, np.uint8)
    data = encoded(suffix, picture if suffix != ".pgm" else picture[..., 0])
    assert image_size(data) == (50, 30)
    for end in range(0, min(len(data), 60)):
        assert image_size(data[:end]) in (None, (50, 30))


def test_the_size_of_a_gif() -> None:
    assert image_size(b"GIF89a" + struct.pack("<HH", 50, 30)) == (50, 30)
    assert image_size(b"GIF89a" + struct.pack("<H", 50)) is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_of_a_big_tiff(order: str) -> None:
    directory = struct.pack(f"{order}Q", 2)
    directory += struct.pack(f"{order}HHQQ", 256, 16, 1, 70_000)  # width as LONG8
    directory += struct.pack(f"{order}HHQI4x", 257, 4, 1, 30)  # height as LONG
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
    assert image_size(header + directory) == (70_000, 30)
    for end in range(len(header + directory)):
        assert image_size((header + directory)[:end]) in (None, (70_000, 30))
    assert image_size(header[:8] + b"\xff" * 8 + directory) is None  # where no file has a directory


def test_the_limit_is_a_setting(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    for value, code in ((640 * 480, 0), (640 * 480 - 1, 2)):
        (tmp_path / "c.toml").write_text(f"[source]\nmax_pixels = {value}\n")
        result = fer_edge("run", clip, "--config", "c.toml", "--bundle", tiny_bundle, cwd=tmp_path)
        assert result.returncode == code, result.stderr


def test_a_stream_is_lost(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[source]\nmax_pixels = 10000\n")
    with mjpeg_server() as server:
        words = ("run", server.url("stream"), "--config", "c.toml", "--bundle", tiny_bundle)
        assert_one_line(fer_edge(*words, cwd=tmp_path), 3, "source.max_pixels = 10000")


def test_the_size_of_a_tiff_is_the_one_that_is_decoded_if_a_tag_comes_twice() -> None:
    tiff = bytearray(cv2.imencode(".tiff", np.zeros((48, 64), np.uint8))[1].tobytes())
    (at,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, at)
    last = at + 2 + 12 * (count - 1)
    struct.pack_into("<HHIHH", tiff, last, 256, 3, 1, 9999, 0)  # a second width
    decoded = cv2.imdecode(np.frombuffer(tiff, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image_size(bytes(tiff)) == decoded.shape[::-1] == (64, 48)
