"""The process that a candidate runs in: pictures come in on standard input, answers go out on standard output.

One request is a line of JSON; that of a scene is followed by its pictures, grey and raw. The next picture comes only
after the answer to the last, so nothing else is at work meanwhile. The `fer` package runs in a Python of its own, with
nothing of this project in it: this file imports no more than the standard library, NumPy and OpenCV.
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
"""uint8 BGR [H, W, 3], as OpenCV's cameras and files give it."""
Seen = list[Any]
"""``[x, y, width, height, label]`` of a face that was told of, in pixels of the frame."""


class Candidate(Protocol):
    """What is measured."""

    how: str
    versions: dict[str, str]

    def begin(self, scene: str | None, fps: float) -> None:
        """Frames of another scene follow; None: they are to warm up, and nothing of them is to be kept."""
        ...

    def process(self, picture: Picture, index: int) -> list[Seen]:
        """All that is done for one frame."""
        ...

    def stages(self, scene: str) -> dict[str, list[float]]:
        """p50, p95 and p99 in milliseconds and the number of calls of each stage on ``scene``, in all rounds so far."""
        ...


def serve(load: Callable[[dict[str, Any]], Candidate]) -> None:
    """Load the candidate that the first line asks for, then play scenes to it until standard input ends."""
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    try:
        candidate = load(json.loads(requests.readline()))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other process tells the user
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
    """Resident memory of this process in MiB, now and at its most; None where there is no /proc."""
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
    """The `fer` package as its own README uses it: ``FER()`` and ``detect_emotions`` on each frame."""

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
        """It knows no time: each frame stands alone."""

    def process(self, picture: Picture, index: int) -> list[Seen]:
        """Its boxes, each with the emotion of the highest score."""
        found = self._detector.detect_emotions(picture)
        return [[*map(int, face["box"]), max(face["emotions"], key=face["emotions"].get)] for face in found]

    def stages(self, scene: str) -> dict[str, list[float]]:
        """It has one call for everything."""
        return {}


if __name__ == "__main__":
    serve(lambda request: FerPackage())
