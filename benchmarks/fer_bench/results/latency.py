"""Latency of a bundle's variants and the state of the machine around it, as parts of a report."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from fer_bench.results.section import Amount, Count, CountFrom1, Positive, Section, Share, Text


class LatencySettings(Section, frozen=True):
    """How latency was measured."""

    rounds: Annotated[CountFrom1, Meta(description="Rounds over all configurations.")] = 20
    runs: Annotated[CountFrom1, Meta(description="Timed invocations of a configuration in a round.")] = 100
    warm_up: Annotated[Count, Meta(description="Untimed invocations before them.")] = 10


class LatencyRow(Section, frozen=True):
    """One configuration: a variant on an engine with a number of threads, in its own process.

    Times are of one invocation. Memory is resident memory.
    """

    variant: Text
    engine: Literal["litert", "litert-noxnnpack", "tflite-runtime", "onnxruntime"]
    threads: CountFrom1
    runtime: Annotated[Text, Meta(description="The engine's package and version.")]
    size_bytes: Count
    runs: Annotated[CountFrom1, Meta(description="Timed invocations in all rounds.")]
    p50_ms: Positive
    p95_ms: Amount
    p99_ms: Amount
    max_ms: Amount
    ratio: Annotated[
        Positive | None,
        Meta(description="Time relative to float32 on litert with one thread in the same run; null without that."),
    ]
    mac_per_s: Annotated[
        Positive | None,
        Meta(description="Multiply-accumulates per second at the median; null if the manifest does not count them."),
    ]
    nodes: Annotated[Count | None, Meta(description="Nodes of the graph; null for an engine without delegates.")]
    delegated_nodes: Annotated[Count | None, Meta(description="Nodes that XNNPACK runs.")]
    import_ms: Annotated[Amount, Meta(description="Import of the engine.")]
    load_ms: Annotated[Amount, Meta(description="Opening the file and allocating its tensors.")]
    rss_before_mib: Annotated[Positive, Meta(description="The interpreter alone.")]
    rss_import_mib: Annotated[Positive, Meta(description="After the import of the engine.")]
    rss_loaded_mib: Annotated[Positive, Meta(description="With the model, after one invocation.")]
    busy_rounds: Annotated[
        Count | None, Meta(description="Rounds in which the process waited for a core; null if unknown.")
    ]
    throttled_rounds: Annotated[
        Count | None,
        Meta(description="Rounds in which heat or low voltage slowed the machine down; null if unknown."),
    ]
    round_p50_ms: Annotated[tuple[Positive, ...], Meta(min_length=1, description="Median of each round.")]
    quantiles_ms: Annotated[
        tuple[Positive, ...],
        Meta(min_length=51, max_length=51, description="Quantiles from 0 to 100 % in steps of 2."),
    ]


class CpuFrequency(Section, frozen=True):
    """A group of cores with a common clock, with cpufreq's name for it."""

    name: Text
    governor: Text | None
    current_mhz: Amount | None
    max_mhz: Amount | None


class Temperature(Section, frozen=True):
    """One sensor."""

    sensor: Text
    celsius: float


Condition = Literal["under-voltage", "frequency capped", "throttled", "soft temperature limit"]
_Conditions = Annotated[tuple[Condition, ...], Meta(extra_json_schema={"uniqueItems": True})]


class ThrottleFlags(Section, frozen=True):
    """The answer of ``vcgencmd get_throttled`` on a Raspberry Pi."""

    raw: Annotated[str, Meta(pattern="^0x[0-9a-f]+$")]
    now: _Conditions
    since_boot: _Conditions


class MachineState(Section, frozen=True):
    """The machine at one moment."""

    frequencies: tuple[CpuFrequency, ...]
    temperatures: tuple[Temperature, ...]
    throttled: Annotated[ThrottleFlags | None, Meta(description="Null if this is not a Raspberry Pi.")]
    throttle_count: Annotated[
        Count | None, Meta(description="How often x86 cores were slowed down by heat since boot; null if unknown.")
    ]
    load_average: Annotated[
        tuple[Amount, Amount, Amount] | None, Meta(description="Over 1, 5 and 15 minutes; null if unknown.")
    ]


class MachineChange(Section, frozen=True):
    """The machine before and after the latencies were measured."""

    before: MachineState
    after: MachineState
    others_share: Annotated[
        Share | None,
        Meta(
            description="Share of the processor time of all cores that other processes and other virtual machines used "
            "in between; null if unknown."
        ),
    ] = None
