"""The parent's side of a worker process: start it, time blocks of invocations, end it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

import fer_bench
import fer_edge
from fer_bench.latency.engines import ENGINES
from fer_edge.errors import InputError, ModelError
from fer_edge.measure import worker
from fer_edge.measure.child import Child
from fer_edge.system.closing import Closing

T = TypeVar("T")
_PACKAGES = {package.__name__: str(Path(package.__path__[0])) for package in (fer_edge, fer_bench)}


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


class Channel(Protocol):
    """A process that answers lines of JSON, on this machine (``Child``) or on a device."""

    def ask(self, data: bytes) -> dict[str, Any]:
        """Send ``data`` and return the answer. Raises ModelError if there is none in time."""
        ...

    def understand(self, parse: Callable[[], T]) -> T:
        """Return the result of ``parse``. Raises ModelError if it refuses the answer."""
        ...

    def close(self) -> None:
        """End the process. Idempotent."""
        ...


class Worker(Closing):
    """The process of one configuration. ``close`` ends it."""

    def __init__(self, configuration: Configuration, job: dict[str, Any], channel: Channel, python: str) -> None:
        """Load the model of ``job`` in the process behind ``channel``; error messages name its interpreter ``python``.

        Raises EngineMissingError, and ModelError if the engine refuses the model or the process fails. The process is
        then ended.
        """
        self.configuration = configuration
        self.channel = channel
        try:
            answer = channel.ask(_line(job))
            if "missing" in answer:
                wanted = ENGINES[configuration.engine].requirement
                reason = f"{python}: {answer['missing']}; it needs pip install {wanted}"
                raise EngineMissingError(f"{configuration.engine}: {reason}")
            if "refused" in answer:
                raise ModelError(f"{configuration}: {answer['refused']}")
            self.loaded = channel.understand(lambda: Loaded(**answer["ready"]))
        except BaseException:
            self.close()
            raise

    def run(self, warm_up: int, runs: int) -> Block:
        """Time ``runs`` invocations after ``warm_up`` untimed ones. Raises ModelError if the process fails."""
        answer = self.channel.ask(_line({"warm_up": warm_up, "runs": runs}))
        return self.channel.understand(lambda: Block(np.array(answer["samples_ns"], np.int64), answer["waiting_ns"]))

    def close(self) -> None:
        """End the process. Idempotent."""
        self.channel.close()


def start_worker(configuration: Configuration, model: Path, python: Path, timeout_s: float) -> Worker:
    """Start ``python`` and load the file ``model`` in it. That, and each block, may take ``timeout_s``.

    Raises what ``Worker`` does.
    """
    try:
        child = Child(str(configuration), [str(python), worker.__file__], timeout_s, timeout_hint=" (--timeout)")
    except OSError as error:
        reason = f"{python}: cannot be started: {error.strerror}"
        raise EngineMissingError(f"{configuration.engine}: {reason}") from None
    job = {"packages": _PACKAGES, **job_of(configuration, str(model.resolve()))}
    return Worker(configuration, job, child, str(python))


def job_of(configuration: Configuration, model: str) -> dict[str, Any]:
    """Return the job of a worker for the file ``model``, without ``packages``; see ``fer_edge.measure.worker``."""
    engine = ENGINES[configuration.engine]
    return {
        "module": engine.module,
        "distribution": engine.distribution,
        "loader": engine.loader,
        "options": dict(engine.options),
        "model": model,
        "threads": configuration.threads,
    }


def _line(question: dict[str, Any]) -> bytes:
    return json.dumps(question).encode() + b"\n"
