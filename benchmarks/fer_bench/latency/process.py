"""The command's end of a worker: start it, ask it for a block of invocations, end it; whatever happens to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

import fer_bench
import fer_edge
from fer_bench.latency.engines import ENGINES
from fer_edge.errors import InputError, ModelError

T = TypeVar("T")
_PACKAGES = {package.__name__: str(Path(package.__path__[0])) for package in (fer_edge, fer_bench)}
_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a row is of: a variant, on an engine, with a number of threads."""

    variant: str
    engine: str
    threads: int

    def __str__(self) -> str:
        return f"{self.variant} on {self.engine}, {self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker tells once its model is loaded; see ``LatencyRow``."""

    runtime: str
    import_ms: float
    load_ms: float
    rss_before_mib: float
    rss_import_mib: float
    rss_loaded_mib: float
    nodes: int | None
    delegated_nodes: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """``samples_ns``, int64 [runs], and how long the process' threads waited for a core meanwhile, in all."""

    samples_ns: npt.NDArray[np.int64]
    waiting_ns: int | None


class EngineMissingError(InputError):
    """The engine is not installed for the interpreter that was to run it, or does not work there."""


class Worker:
    """A process that holds one configuration; a context manager whose ``close`` may be called twice."""

    def __init__(self, configuration: Configuration, model: Path, python: Path, timeout_s: float) -> None:
        """Start ``python`` and load ``model`` (a file) in it, which may take ``timeout_s``, as may each block.

        Raises EngineMissingError, and ModelError for a model that the engine refuses and for a process that fails.
        """
        self.configuration = configuration
        self._timeout_s = timeout_s
        self._timed_out = False
        self._python = python
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (close() closes it)
        try:
            # A session of its own: a wrapper around an interpreter ends together with what it started, and Ctrl-C is
            # the command's to handle.
            self._process = subprocess.Popen(
                [str(python), str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            reason = f"{python}: cannot be started: {error.strerror}"
            raise EngineMissingError(f"{configuration.engine}: {reason}") from None
        with contextlib.ExitStack() as guard:
            guard.callback(self.close)
            job = {"engine": configuration.engine, "model": str(model.resolve()), "threads": configuration.threads}
            answer = self._ask({"packages": _PACKAGES, **job})
            if "missing" in answer:
                wanted = ENGINES[configuration.engine].requirement
                reason = f"{python}: {answer['missing']}; it needs pip install {wanted}"
                raise EngineMissingError(f"{configuration.engine}: {reason}")
            if "refused" in answer:
                raise ModelError(f"{configuration}: {answer['refused']}")
            self.loaded = self._understand(lambda: Loaded(**answer["ready"]))
            guard.pop_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def run(self, warm_up: int, runs: int) -> Block:
        """Time ``runs`` invocations after ``warm_up`` untimed ones. Raises ModelError when the process fails."""
        answer = self._ask({"warm_up": warm_up, "runs": runs})
        return self._understand(lambda: Block(np.array(answer["samples_ns"], np.int64), answer["waiting_ns"]))

    def close(self) -> None:
        """End the process; whatever it is doing, it holds nothing that could be lost."""
        if self._process.poll() is None:
            self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(OSError):  # what it was not there to read any more
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        alarm = threading.Timer(self._timeout_s, self._time_out)
        alarm.daemon = True
        alarm.start()
        try:
            with contextlib.suppress(OSError):  # it is gone: then there is no answer either
                self._process.stdin.write(json.dumps(question).encode() + b"\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            raise ModelError(f"{self.configuration}: {self._what_happened()}")
        answer = self._understand(lambda: json.loads(line))
        if not isinstance(answer, dict):
            raise self._nonsense()
        return answer

    def _understand(self, parse: Callable[[], T]) -> T:
        try:
            return parse()
        except (ValueError, TypeError, KeyError):
            raise self._nonsense() from None

    def _nonsense(self) -> ModelError:
        return ModelError(f"{self.configuration}: {self._python} answers nothing that could be understood")

    def _time_out(self) -> None:
        self._timed_out = True
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _what_happened(self) -> str:
        if self._timed_out:
            return f"its process did not answer within {self._timeout_s:g} s (--timeout)"
        try:
            code = self._process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            return "its process closed its output"
        if code < 0:
            name = signal.Signals(-code).name
            return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"its process ended with exit code {code}: {lines[-1][:300]}"
