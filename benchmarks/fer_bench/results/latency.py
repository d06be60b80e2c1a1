"""Latency of a bundle's variants and the state of the machine around it, as parts of a report."""

from __future__ import annotations

import math

from fer_bench.results.section import Section


class LatencySettings(Section, frozen=True):
    """How latency was measured: ``rounds`` over all configurations; in each, ``warm_up`` untimed and then ``runs``
    timed invocations of every one."""

    rounds: int = 20
    runs: int = 100
    warm_up: int = 10


class LatencyRow(Section, frozen=True):
    """What one configuration, a variant on an engine with a number of threads, took in a process of its own.

    The milliseconds are of one invocation, over ``runs`` timed ones. ``ratio`` is the time over that of float32 on
    litert with one thread in the same run (None: that was not measured). ``mac_per_s`` is the manifest's number of
    multiply-accumulates over the median (None: it holds none).

    ``delegated_nodes`` of the graph's ``nodes`` were taken by XNNPACK (None: an engine without delegates).

    Resident set in MiB (2**20 bytes): of the bare interpreter, after importing the engine, and after loading the model
    and invoking it once. ``import_ms`` is the import, ``load_ms`` opening the file and allocating its tensors.

    ``round_p50_ms`` are the medians of the rounds, ``quantiles_ms`` the distribution: from 0 to 100 % in steps of 2.

    In ``busy_rounds`` it waited for a core that others had, in ``throttled_rounds`` the machine was slowed down by
    heat or voltage (None: this machine does not tell).
    """

    variant: str
    engine: str
    threads: int
    runtime: str
    size_bytes: int
    runs: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    ratio: float | None
    mac_per_s: float | None
    nodes: int | None
    delegated_nodes: int | None
    import_ms: float
    load_ms: float
    rss_before_mib: float
    rss_import_mib: float
    rss_loaded_mib: float
    busy_rounds: int | None
    throttled_rounds: int | None
    round_p50_ms: tuple[float, ...]
    quantiles_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for times that nothing can be made of: reports come from others, too."""
        times = (self.p50_ms, *self.round_p50_ms, *self.quantiles_ms)
        if not self.round_p50_ms or not self.quantiles_ms or not all(0 < time < math.inf for time in times):
            raise ValueError(f"{self.variant} on {self.engine}: its times must be there, above 0 and finite")


class CpuFrequency(Section, frozen=True):
    """One group of cores with a common clock, as cpufreq names it; None for what it does not tell."""

    name: str
    governor: str | None
    current_mhz: float | None
    max_mhz: float | None


class Temperature(Section, frozen=True):
    """One sensor."""

    sensor: str
    celsius: float


class ThrottleFlags(Section, frozen=True):
    """A Raspberry Pi's own account: the conditions that hold ``now``, and those that held at any time since boot."""

    raw: str
    now: tuple[str, ...]
    since_boot: tuple[str, ...]


class MachineState(Section, frozen=True):
    """The machine at one moment; ``throttle_count`` is how often x86 cores were slowed down for heat since boot,
    ``load_average`` over 1, 5 and 15 minutes."""

    frequencies: tuple[CpuFrequency, ...]
    temperatures: tuple[Temperature, ...]
    throttled: ThrottleFlags | None
    throttle_count: int | None
    load_average: tuple[float, float, float] | None


class MachineChange(Section, frozen=True):
    """The machine before and after the latencies were measured.

    ``others_share`` is the share of the processor time of all cores, 0..1, that other processes and other virtual
    machines used in between (None: unknown).
    """

    before: MachineState
    after: MachineState
    others_share: float | None = None
