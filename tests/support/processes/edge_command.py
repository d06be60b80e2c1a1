"""Run ``fer-edge`` as a process, and create videos and pictures for it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_edge.protocols import NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.demo.source import DemoScene, DemoSource
from fer_edge.types import UInt8Array

FACE_AT_S = 4.0
"""A time of the demo scene at which its face is completely visible."""


class Decoder:
    """The decoder that commands use, ``opencv`` or ``pyav``; None for their default. Set by the fixture ``decoder``."""

    chosen: str | None = None


def fer_edge(
    *arguments: object, cwd: Path, stdout: int | None = None, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command and return its result; ``stdout`` may be a file descriptor instead of a pipe.

    ``settings`` are variables ``FER_EDGE_…`` of its environment.
    """
    return subprocess.run(
        command_line(*arguments),
        cwd=cwd,
        env={**clean_environment(), **(settings or {})},
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )


def command_line(*arguments: object) -> list[str]:
    """Return the command as a list, for the interpreter that runs the tests."""
    return [sys.executable, "-m", "fer_edge", *map(str, arguments)]


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings that would change the command's behaviour.

    Those of OpenCV may have been set by functions that a test called in this process.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FER_EDGE_", "OPENCV_"))}
    return clean if Decoder.chosen is None else {**clean, "FER_EDGE_SOURCE_DECODER": Decoder.chosen}


def assert_one_line(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """Assert that the command ended with ``code`` and one line with ``parts`` on stderr."""
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("fer-edge: "), result.stderr
    for part in parts:
        assert part in result.stderr


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def face_picture() -> UInt8Array:
    """Return a grey picture, uint8 [480, 640], with one face."""
    return DemoScene().render(FACE_AT_S, 0)


def png_chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """Return a chunk of a PNG, with the correct checksum unless another is given."""
    right = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", right if checksum is None else checksum)


def undecodable_png() -> bytes:
    """Return a PNG with valid structure and invalid pixel data: libpng reports that on stderr."""
    data = cv2.imencode(".png", face_picture())[1].tobytes()
    return data[:33] + png_chunk(b"IDAT", bytes(140)) + data[-12:]  # between header and end


def write_video(path: Path, frames: int = 30, *, code: str = "mp4v", fps: float = 15.0) -> Path:
    """Write ``frames`` of the demo scene, from where its face is in the picture, as a video."""
    scene = DemoScene()
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, (640, 480))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(cv2.cvtColor(scene.render(FACE_AT_S + index / fps, index), cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def demo_pixels(frames: int) -> list[UInt8Array]:
    """Return the first frames of the demo source."""
    pixels = []
    with DemoSource(SourceSettings()) as source:
        for _ in range(frames):
            frame = source.read(0.0)
            assert not isinstance(frame, NoFrame)
            pixels.append(np.asarray(frame.gray))
    return pixels
