"""The command's end of a worker: start it, ask it for a block of invocations, end it; whatever happens to it."""

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


class Worker(Child):
    """A process that holds one configuration."""

    timeout_hint = " (--timeout)"

    def __init__(self, configuration: Configuration, model: Path, python: Path, timeout_s: float) -> None:
        """Start ``python`` and load ``model`` (a file) in it, which may take ``timeout_s``, as may each block.

        Raises EngineMissingError, and ModelError for a model that the engine refuses and for a process that fails.
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
        """Time ``runs`` invocations after ``warm_up`` untimed ones. Raises ModelError when the process fails."""
        answer = self.ask(_line({"warm_up": warm_up, "runs": runs}))
        return self.understand(lambda: Block(np.array(answer["samples_ns"], np.int64), answer["waiting_ns"]))


def _line(question: dict[str, Any]) -> bytes:
    return json.dumps(question).encode() + b"\n"
