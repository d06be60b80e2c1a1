"""The parent's side of a worker process: start it, time blocks of invocations, end it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import fer_bench
import fer_edge
from fer_bench.child import Child
from fer_bench.latency.engines import ENGINES
from fer_edge.errors import InputError, ModelError

_PACKAGES = {package.__name__: str(Path(package.__path__[0])) for package in (fer_edge, fer_bench)}
_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True, slots=True)
class Configuration:
    """A variant on an engine with a number of threads: one row of the report."""

    variant: str
    engine: str
    threads: int

    def __str__(self) -> str:
        return f"{self.variant} on {self.engine}, {self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The worker's report after it has loaded the model; see ``LatencyRow``."""

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
    """``samples_ns``, int64 [runs], and the time that all threads of the process waited for a core; None if unknown."""

    samples_ns: npt.NDArray[np.int64]
    waiting_ns: int | None


class EngineMissingError(InputError):
    """The engine is not installed for its interpreter, or does not work there."""


class Worker(Child):
    """The process of one configuration."""

    timeout_hint = " (--timeout)"

    def __init__(self, configuration: Configuration, model: Path, python: Path, timeout_s: float) -> None:
        """Start ``python`` and load the file ``model`` in it. That, and each block, may take ``timeout_s``.

        Raises EngineMissingError, and ModelError if the engine refuses the model or the process fails.
        """
        self.configuration = configuration
        try:
            super().__init__(str(configuration), [str(python), str(_WORKER)], timeout_s)
        except OSError as error:
            reason = f"{python}: cannot be started: {error.strerror}"
            raise EngineMissingError(f"{configuration.engine}: {reason}") from None
        with contextlib.ExitStack() as guard:
            guard.callback(self.close)
            job = {"engine": configuration.engine, "model": str(model.resolve()), "threads": configuration.threads}
            answer = self.ask(_line({"packages": _PACKAGES, **job}))
            if "missing" in answer:
                wanted = ENGINES[configuration.engine].requirement
                reason = f"{python}: {answer['missing']}; it needs pip install {wanted}"
                raise EngineMissingError(f"{configuration.engine}: {reason}")
            if "refused" in answer:
                raise ModelError(f"{configuration}: {answer['refused']}")
            self.loaded = self.understand(lambda: Loaded(**answer["ready"]))
            guard.pop_all()

    def run(self, warm_up: int, runs: int) -> Block:
        """Time ``runs`` invocations after ``warm_up`` untimed ones. Raises ModelError if the process fails."""
        answer = self.ask(_line({"warm_up": warm_up, "runs": runs}))
        return self.understand(lambda: Block(np.array(answer["samples_ns"], np.int64), answer["waiting_ns"]))


def _line(question: dict[str, Any]) -> bytes:
    return json.dumps(question).encode() + b"\n"
