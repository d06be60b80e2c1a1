"""The process of a candidate: it reads pictures from standard input and writes answers to standard output.

A request is a line of JSON; the request for a scene is followed by its pictures, raw and gray. The next picture is sent
after the answer to the last one, so that nothing else runs meanwhile. The `fer` package runs in another Python
environment without this project, so this file imports only the standard library, NumPy and OpenCV.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

import cv2
import numpy as np

Picture = Any
"""uint8 BGR [H, W, 3], as from OpenCV's cameras and files."""
Seen = list[Any]
"""``[x, y, width, height, label]`` of a reported face, in pixels of the frame."""


class Candidate(Protocol):
    """A system that is measured."""

    how: str
    versions: dict[str, str]

    def begin(self, scene: str | None, fps: float) -> None:
        """Start another scene; None: its frames are for warm-up and do not count."""
        ...

    def process(self, picture: Picture, index: int) -> list[Seen]:
        """Process one frame and return the reported faces."""
        ...

    def stages(self, scene: str) -> dict[str, list[float]]:
        """Return p50, p95, p99 in milliseconds and the calls of each stage on ``scene``, over all rounds so far."""
        ...


def serve(load: Callable[[dict[str, Any]], Candidate]) -> None:
    """Load the candidate that the first line names, then show it scenes until standard input ends."""
    # Output of libraries must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    try:
        candidate = load(json.loads(requests.readline()))
    except Exception as error:  # noqa: BLE001 - the other process reports any error
        text = " ".join(str(error).split()) or type(error).__name__
        _answer(answers, {"error": text, "exit_code": getattr(error, "exit_code", None)})
        return
    _answer(answers, {"how": candidate.how, "versions": candidate.versions})
    for line in iter(requests.readline, b""):
        _play(candidate, json.loads(line), requests, answers)


def _play(candidate: Candidate, scene: dict[str, Any], requests: IO[bytes], answers: IO[str]) -> None:
    width, height = scene["width"], scene["height"]
    candidate.begin(scene["name"], scene["fps"])
    for index in range(scene["frames"]):
        gray = np.frombuffer(requests.read(width * height), dtype=np.uint8).reshape(height, width)
        picture = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
        cpu, start = time.process_time(), time.perf_counter()
        seen = candidate.process(picture, index)
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
        _answer(answers, {"seen": seen, "wall_s": wall_s, "cpu_s": cpu_s})
    stages = {} if scene["name"] is None else candidate.stages(scene["name"])
    _answer(answers, {"stages": stages, **_memory()})


def _answer(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")


def _memory() -> dict[str, float | None]:
    """Return the resident memory of this process in MiB, now and at maximum; None without /proc."""
    kib = {}
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key in ("VmRSS", "VmHWM"):
                kib[key] = int(value.split()[0])
    except OSError:
        pass
    return {name: kib[key] / 1024 if key in kib else None for name, key in (("steady", "VmRSS"), ("peak", "VmHWM"))}


class FerPackage:
    """The `fer` package, used as in its README: ``FER()`` and ``detect_emotions`` on each frame."""

    how = "FER().detect_emotions on each frame: Haar (1.1, 5, 50 px) on all of it, then its own model"

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from importlib import metadata

        from fer.fer import FER  # type: ignore[import-not-found]  # in the other environment

        self._detector = FER()
        self.versions = {}
        for name in ("fer", "tensorflow", "tensorflow-cpu", "keras"):
            with suppress(metadata.PackageNotFoundError):
                self.versions[name] = metadata.version(name)
        self.versions.update(opencv=cv2.__version__, python=sys.version.split()[0])

    def begin(self, scene: str | None, fps: float) -> None:
        """Do nothing: it processes each frame separately."""

    def process(self, picture: Picture, index: int) -> list[Seen]:
        """Return its boxes, each with the emotion with the highest score."""
        found = self._detector.detect_emotions(picture)
        return [[*map(int, face["box"]), max(face["emotions"], key=face["emotions"].get)] for face in found]

    def stages(self, scene: str) -> dict[str, list[float]]:
        """Return nothing: it has one call for everything."""
        return {}


if __name__ == "__main__":
    serve(lambda request: FerPackage())
