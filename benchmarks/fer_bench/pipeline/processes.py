"""A candidate in a fresh process of its own, so that its memory and processor time are its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from fer_bench.pipeline import worker
from fer_bench.pipeline.results import CandidateInfo
from fer_edge.errors import FerEdgeError, InputError, ModelError
from fer_edge.types import Box, UInt8Array

_TIMEOUT_S = 600
"""Far beyond any start or frame, on a Pi too; a process that takes longer hangs."""
_RUN_FILE = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
"""Runs a file without putting its folder, and this project's modules there, before those of its own environment."""


@dataclass(frozen=True, slots=True)
class SeenFace:
    """A face that a candidate told of: its box, and its label or "uncertain"."""

    box: Box
    label: str


@dataclass(frozen=True, slots=True)
class Played:
    """What came back from a scene: for each frame the faces told of, wall and processor seconds; then the rest.

    ``stages`` hold p50, p95, p99 in milliseconds and the calls, over all rounds so far; memory is MiB.
    """

    seen: tuple[tuple[SeenFace, ...], ...]
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    stages: dict[str, list[float]]
    steady_mib: float | None
    peak_mib: float | None


class CandidateProcess:
    """A running candidate; a context manager that ends its process. Raises FerEdgeError when it cannot start."""

    def __init__(self, name: str, command: Sequence[str], request: dict[str, Any]) -> None:
        """``command`` starts a process that serves (see ``worker``), ``request`` is the first thing it is told."""
        self.name = name
        start = time.perf_counter()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as error:
            self._errors.close()
            raise InputError(f"{name}: cannot start {command[0]}: {error.strerror}") from None
        try:
            answer = self._ask(request)
            if "error" in answer:
                # The error's own kind, as far as its exit code tells it; a foreign package's is bad input.
                kind = ModelError if answer["exit_code"] == ModelError.exit_code else InputError
                raise kind(f"{name}: {answer['error']}")
        except BaseException:
            self.close()
            raise
        self.info = CandidateInfo(name, answer["how"], answer["versions"], time.perf_counter() - start)

    def play(self, scene: str | None, frames: Sequence[UInt8Array], fps: float) -> Played:
        """Show ``frames``, uint8 [H, W] of one size, one after the other; ``scene`` None is to warm up."""
        height, width = frames[0].shape
        head = {"name": scene, "width": width, "height": height, "frames": len(frames), "fps": fps}
        self._send(json.dumps(head).encode() + b"\n")
        answers = [self._ask_about(frame) for frame in frames]
        end = self._read()
        return Played(
            seen=tuple(tuple(SeenFace(Box(*face[:4]), face[4]) for face in answer["seen"]) for answer in answers),
            wall_s=tuple(answer["wall_s"] for answer in answers),
            cpu_s=tuple(answer["cpu_s"] for answer in answers),
            stages=end["stages"],
            steady_mib=end["steady"],
            peak_mib=end["peak"],
        )

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._send(json.dumps(request).encode() + b"\n")
        return self._read()

    def _ask_about(self, frame: UInt8Array) -> dict[str, Any]:
        self._send(frame.tobytes())
        return self._read()

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            self._fail("ended")

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        watchdog = threading.Timer(_TIMEOUT_S, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            on_time = watchdog.is_alive()
            watchdog.cancel()
        if not line:
            self._fail("ended" if on_time else f"did not answer within {_TIMEOUT_S} s")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fail(self, what: str) -> NoReturn:
        self._process.kill()
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        raise FerEdgeError(f"{self.name}: its process {what} (exit code {code}): {lines[-1] if lines else 'no reason'}")

    def close(self) -> None:
        """End the process; may be called twice."""
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def own_candidate(name: str, bundle: Path, variant: str, keras: Path | None = None) -> CandidateProcess:
    """One of ``candidates``, under this Python."""
    request = {"candidate": name, "bundle": str(bundle), "variant": variant, "keras": str(keras)}
    return CandidateProcess(name, [sys.executable, "-m", "fer_bench.pipeline.candidates"], request)


def fer_package(python: Path) -> CandidateProcess:
    """The `fer` package, under the Python of the environment that holds it."""
    return CandidateProcess("fer", [str(python), "-c", _RUN_FILE, worker.__file__], {})
