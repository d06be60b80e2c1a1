"""Measure latency: start a worker for each configuration, and run them in turn."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from fer_bench.extras import progress
from fer_bench.latency.engines import ENGINES, LITERT, LITERT_NO_XNNPACK, TFLITE_RUNTIME
from fer_bench.latency.machine import THIS_MACHINE, Machine, ProcessorWatch, ThrottleWatch, read_machine_state
from fer_bench.latency.process import Block, Configuration, EngineMissingError, Worker, start_worker
from fer_bench.latency.summary import Samples, count_rounds, is_busy, mac_per_s, ratios_to_baseline, summarise
from fer_bench.results import REFERENCE, LatencyRow, LatencySettings, MachineChange
from fer_edge.errors import FerEdgeError, InputError, ModelError
from fer_edge.measure.machine import describe_machine
from fer_edge.model.bundle import ModelBundle, ModelVariant

LEGACY_PYTHON = Path(".venv-legacy/bin/python")
"""Interpreter for tflite-runtime that `make legacy-env` installs in a checkout."""
_SEED = 20130701
TIMEOUT_S = 300.0
"""Much longer than loading or a block takes on a Pi. A process that takes longer hangs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. None: all engines that can run the bundle's files; one thread and all cores.

    ``tflite_runtime`` is the interpreter of an environment with tflite-runtime. A worker may take ``timeout_s`` to
    load, and for each block.
    """

    settings: LatencySettings = field(default_factory=LatencySettings)
    engines: tuple[str, ...] | None = None
    threads: tuple[int, ...] | None = None
    tflite_runtime: Path | None = None
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine that measures offers: its number of cores, its name in messages, and engines by name."""

    cores: int = field(default_factory=lambda: describe_machine().cores)
    name: str = "this machine"
    engines: tuple[str, ...] = tuple(ENGINES)


Start = Callable[[Configuration, ModelVariant, Plan], Worker]
"""Starts the worker of a configuration, with the file of its variant."""


def start_here(configuration: Configuration, variant: ModelVariant, plan: Plan) -> Worker:
    """Start a worker on this machine. Raises what ``Worker`` does."""
    return start_worker(configuration, variant.path, _interpreter(configuration.engine, plan), plan.timeout_s)


def measure_latency(
    bundle: ModelBundle,
    configurations: Sequence[Configuration],
    plan: Plan,
    machine: Machine = THIS_MACHINE,
    start: Start = start_here,
) -> tuple[tuple[LatencyRow, ...], MachineChange]:
    """Measure ``configurations`` in one run on ``machine``, where ``start`` starts workers; return a row for each.

    A configuration that cannot be measured here is left out, with a line on stderr. Raises InputError if that applies
    to all, or ``plan.tflite_runtime`` does not work; ModelError if litert refuses a file or a worker fails.
    """
    before, processor = read_machine_state(machine), ProcessorWatch(machine)
    with contextlib.ExitStack() as opened:
        workers = _start(bundle, configurations, plan, start, opened)
        blocks, throttled = _take_turns(workers, plan.settings, ThrottleWatch(machine))
        after = read_machine_state(machine)
    # Only now: the processor time of a worker is known after it has ended.
    change = MachineChange(before, after, processor.others_share())
    samples = {key: np.stack([block.samples_ns for block in found]) for key, found in blocks.items()}
    ratios = ratios_to_baseline(samples)
    macs = bundle.manifest.training.get("macs")
    rows = []
    for worker in workers:
        key = worker.configuration
        stats = summarise(samples[key])
        busy = [is_busy(block.samples_ns, block.waiting_ns, key.threads) for block in blocks[key]]
        rows.append(
            LatencyRow(
                **asdict(key),
                **asdict(worker.loaded),
                **asdict(stats),
                size_bytes=bundle.variant(key.variant).size_bytes,
                ratio=ratios[key],
                mac_per_s=mac_per_s(macs, stats.p50_ms),
                busy_rounds=count_rounds(busy),
                throttled_rounds=count_rounds(throttled[key]),
            )
        )
    return tuple(rows), change


def time_files(files: Mapping[str, Path], settings: LatencySettings) -> dict[str, Samples]:
    """Time ``.tflite`` files in turn, on litert with one thread; return nanoseconds, int64 [rounds, runs], for each.

    Raises ModelError.
    """
    with contextlib.ExitStack() as opened:
        workers = [
            opened.enter_context(start_worker(Configuration(name, LITERT, 1), path, Path(sys.executable), TIMEOUT_S))
            for name, path in files.items()
        ]
        blocks, _ = _take_turns(workers, settings, ThrottleWatch())
    return {key.variant: np.stack([block.samples_ns for block in found]) for key, found in blocks.items()}


def choose_configurations(bundle: ModelBundle, plan: Plan, limits: Limits | None = None) -> tuple[Configuration, ...]:
    """Return each variant, float32 first, with each engine that reads its file and each number of threads.

    ``limits`` are those of the machine that measures; None: this one. Raises InputError if there is none, for more
    threads than cores, for an engine that the machine cannot have, and if ``plan.tflite_runtime`` is not a file.
    """
    limits = limits or Limits()
    if foreign := set(plan.engines or ()).difference(limits.engines):
        raise InputError(
            f"--engines {', '.join(sorted(foreign))}: not on {limits.name}; choose from {', '.join(limits.engines)}"
        )
    if plan.tflite_runtime is not None and not plan.tflite_runtime.is_file():
        raise InputError(f"--tflite-runtime {plan.tflite_runtime}: no such file; give a Python interpreter")
    thread_counts = _thread_counts(plan.threads, limits)
    variants = bundle.manifest.variants
    suffixes = {variant.suffix for variant in variants.values()}
    unread = [name for name in plan.engines or () if ENGINES[name].suffix not in suffixes]
    configurations = tuple(
        Configuration(variant, name, threads)
        for variant in sorted(variants, key=lambda name: name != REFERENCE)
        for name in plan.engines or limits.engines
        if ENGINES[name].suffix == variants[variant].suffix
        for threads in thread_counts
    )
    if not configurations:
        raise InputError(f"{bundle.folder}: it has no file for {', '.join(unread) or 'any engine'}")
    for name in unread:
        _report_skipped(f"{name}: this bundle has no {ENGINES[name].suffix} file")
    return configurations


def interleaved(count: int, rounds: int) -> list[list[int]]:
    """Return the order of turns in each round: shuffled with a fixed seed, so that the predecessor varies."""
    random = np.random.default_rng(_SEED)
    return [random.permutation(count).tolist() for _ in range(rounds)]


def _thread_counts(wanted: tuple[int, ...] | None, limits: Limits) -> tuple[int, ...]:
    cores = limits.cores
    if wanted is None:
        return tuple(sorted({1, cores}))
    if max(wanted) > cores:
        raise InputError(f"--threads {max(wanted)}: {limits.name} has {cores} core{'s' * (cores > 1)}")
    return tuple(dict.fromkeys(wanted))


def _start(
    bundle: ModelBundle,
    configurations: Sequence[Configuration],
    plan: Plan,
    start: Start,
    opened: contextlib.ExitStack,
) -> list[Worker]:
    """Start a worker for each of ``configurations`` that can be run there; ``opened`` closes them."""
    workers = []
    without: dict[str, FerEdgeError] = {}
    for key in progress(configurations, "loading", len(configurations)):
        if key.engine in without:
            continue
        try:
            workers.append(opened.enter_context(start(key, bundle.variant(key.variant), plan)))
        except EngineMissingError as error:
            if key.engine == TFLITE_RUNTIME and plan.tflite_runtime is not None:
                raise
            without[key.engine] = error
        except ModelError as error:
            # The engine of the device must work; the others are for comparison.
            if key.engine in (LITERT, LITERT_NO_XNNPACK):
                raise
            without[str(key)] = error
    if not workers:
        raise next(iter(without.values()))
    for reason in without.values():
        _report_skipped(str(reason))
    return workers


def _interpreter(engine: str, plan: Plan) -> Path:
    """Return the interpreter for ``engine``. Raises EngineMissingError."""
    here = Path(sys.executable)
    if engine != TFLITE_RUNTIME or (plan.tflite_runtime is None and importlib.util.find_spec("tflite_runtime")):
        return here
    python = plan.tflite_runtime or LEGACY_PYTHON
    if not python.exists() and plan.tflite_runtime is None:
        raise EngineMissingError(
            f"{engine}: give --tflite-runtime the Python of an environment that contains it (make legacy-env)"
        )
    return (
        python.absolute()
    )  # a bare name would be searched in PATH; not resolved, because the Python of a venv is a link


def _take_turns(
    workers: Sequence[Worker], settings: LatencySettings, watch: ThrottleWatch
) -> tuple[dict[Configuration, list[Block]], dict[Configuration, list[bool | None]]]:
    """Time one block of each worker in each round, and note whether the machine was throttled in it."""
    blocks: dict[Configuration, list[Block]] = {worker.configuration: [] for worker in workers}
    throttled: dict[Configuration, list[bool | None]] = {worker.configuration: [] for worker in workers}
    orders = interleaved(len(workers), settings.rounds)
    for order in progress(orders, "latency", len(orders)):
        for turn in order:
            worker = workers[turn]
            blocks[worker.configuration].append(worker.run(settings.warm_up, settings.runs))
            throttled[worker.configuration].append(watch.throttled())
    return blocks, throttled


def _report_skipped(what_and_why: str) -> None:
    sys.stderr.write(f"fer-edge: skipped {what_and_why}\n")
