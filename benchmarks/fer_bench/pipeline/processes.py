"""A candidate in a new process, so that its memory and processor time can be measured separately."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_bench.pipeline import worker
from fer_bench.results.pipeline import CandidateInfo
from fer_edge.errors import InputError, ModelError
from fer_edge.measure.child import Child
from fer_edge.types import Box, UInt8Array

_TIMEOUT_S = 600.0
"""Much longer than any start or frame, on a Pi too. A process that takes longer hangs."""
_RUN_FILE = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
"""Run a file without its folder in ``sys.path``, where this project's modules would hide those of the environment."""


@dataclass(frozen=True, slots=True)
class SeenFace:
    """A reported face: its box, and its label or "uncertain"."""

    box: Box
    label: str


@dataclass(frozen=True, slots=True)
class Played:
    """The answers to a scene: for each frame the reported faces, wall time and processor time in seconds.

    ``stages`` has p50, p95, p99 in milliseconds and the calls of each stage, over all rounds so far; memory is in MiB.
    """

    seen: tuple[tuple[SeenFace, ...], ...]
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    stages: dict[str, list[float]]
    steady_mib: float | None
    peak_mib: float | None


class CandidateProcess(Child):
    """A running candidate."""

    def __init__(
        self, name: str, command: Sequence[str], request: dict[str, Any], timeout_s: float = _TIMEOUT_S
    ) -> None:
        """Start ``command``, a process that serves (see ``worker``), and send it ``request``.

        The start and each frame may take ``timeout_s``. Raises InputError if it cannot start, and ModelError if it
        refuses the model, fails, or gives invalid answers.
        """
        self.name = name
        start = time.perf_counter()
        try:
            super().__init__(name, command, timeout_s)
        except OSError as error:
            raise InputError(f"{name}: cannot start {command[0]}: {error.strerror}") from None
        with ExitStack() as guard:
            guard.callback(self.close)
            answer = self.ask(json.dumps(request).encode() + b"\n")
            if "error" in answer:
                # The exit code gives the kind of the error; an error of another package is bad input.
                kind = ModelError if answer.get("exit_code") == ModelError.exit_code else InputError
                raise kind(f"{name}: {answer['error']}")
            took_s = time.perf_counter() - start
            self.info = self.understand(lambda: _info(name, answer, took_s))
            guard.pop_all()

    def play(self, scene: str | None, frames: Sequence[UInt8Array], fps: float) -> Played:
        """Show ``frames``, uint8 [H, W] of one size, one after the other. ``scene`` is None for warm-up.

        Raises ModelError if the process fails.
        """
        height, width = frames[0].shape
        head = {"name": scene, "width": width, "height": height, "frames": len(frames), "fps": fps}
        # The head is not answered, so it is sent with the first frame, within the same time limit.
        before = json.dumps(head).encode() + b"\n"
        answers = []
        for frame in frames:
            answers.append(self.ask(before + frame.tobytes()))
            before = b""
        end = self.ask(b"")
        return self.understand(lambda: _played(answers, end))

    def ended(self, code: int, last_words: str) -> str:
        """See ``Child.ended``."""
        return f"ended (exit code {code}): {last_words or 'no reason'}"


def _info(name: str, answer: dict[str, Any], start_s: float) -> CandidateInfo:
    versions = {str(package): str(version) for package, version in answer["versions"].items()}
    return CandidateInfo(name, str(answer["how"]), versions, start_s)


def _played(answers: Sequence[dict[str, Any]], end: dict[str, Any]) -> Played:
    return Played(
        seen=tuple(tuple(_seen(face) for face in answer["seen"]) for answer in answers),
        wall_s=tuple(float(answer["wall_s"]) for answer in answers),
        cpu_s=tuple(float(answer["cpu_s"]) for answer in answers),
        stages={name: _durations(*values) for name, values in end["stages"].items()},
        steady_mib=_mib(end["steady"]),
        peak_mib=_mib(end["peak"]),
    )


def _seen(face: Sequence[Any]) -> SeenFace:
    x, y, width, height, label = face
    return SeenFace(Box(int(x), int(y), int(width), int(height)), str(label))


def _durations(p50: float, p95: float, p99: float, calls: int) -> list[float]:
    return [float(p50), float(p95), float(p99), int(calls)]


def _mib(found: float | None) -> float | None:
    return None if found is None else float(found)


def own_candidate(name: str, bundle: Path, variant: str, keras: Path | None = None) -> CandidateProcess:
    """Start one of ``candidates`` with this Python."""
    request = {"candidate": name, "bundle": str(bundle), "variant": variant, "keras": str(keras)}
    return CandidateProcess(name, [sys.executable, "-m", "fer_bench.pipeline.candidates"], request)


def fer_package(python: Path) -> CandidateProcess:
    """Start the `fer` package with ``python``, the interpreter of its environment: a file or a command on the PATH."""
    # A Path has no leading ./ any more. Not resolved: the place of the link decides which environment is used.
    program = python.absolute() if os.access(python, os.F_OK) else python
    return CandidateProcess("fer", [str(program), "-c", _RUN_FILE, worker.__file__], {})
