"""What a benchmark run produces: frozen values, written as JSON and shown as tables by ``report``."""

from __future__ import annotations

import json
import math
from pathlib import Path

from fer_bench.pipeline.results import PipelineSection
from fer_bench.section import Section
from fer_bench.sequence.results import SequenceSection
from fer_edge.errors import InputError
from fer_edge.settings.base import decode

FORMAT = 3
"""2: ``leak_free``, ``ferplus`` and ``classes`` beside each accuracy; 3: ``latency`` is a list with a row for each
configuration (variant, engine, threads), and ``machine`` tells the machine's state before and after it."""

REFERENCE = "float32"
"""The variant that the others are compared with."""


class ShareResult(Section, frozen=True):
    """How many of ``n`` images are named right, as a share 0..1 with its 95 % interval."""

    n: int
    correct: int
    accuracy: float
    low: float
    high: float


class ClassRecall(Section, frozen=True):
    """How many of the ``support`` images that bear ``label`` are named so; ``recall`` is None when there is none.

    ``change`` is the recall less float32's (None for float32 itself, and where there is none).
    """

    label: str
    support: int
    correct: int
    recall: float | None
    change: float | None


class ReliabilityBin(Section, frozen=True):
    """The ``count`` images whose top class has a confidence within one of the equal-width bins of 0..1; ``confidence``
    and ``accuracy`` are their means (0 for none)."""

    count: int
    confidence: float
    accuracy: float


class AccuracyResult(Section, frozen=True):
    """Accuracy of a variant on a split; ``agreement`` and ``mcnemar_p`` compare it with float32 (None for float32
    itself, and where there is none).

    Shares are 0..1; ``low`` and ``high`` bound the 95 % interval; ``ece`` is at the manifest's ``temperature``.
    ``leak_free`` is over the images without an exact duplicate in another split, each once; ``distinct`` over those of
    them without a near duplicate in Training either (None in reports from before it was measured); ``ferplus`` goes by
    the majority of the FER+ votes in place of the label, over the images that have one; None where there is no such
    image, or no vote.

    ``confusion`` counts images, true labels down, predictions across. ``right`` says image by image, in the split's
    order, which are named right, as hexadecimal digits of ``n`` bits, the first image first: two reports on the same
    data are compared image by image.
    """

    split: str
    n: int
    correct: int
    accuracy: float
    low: float
    high: float
    balanced_accuracy: float
    ece: float
    temperature: float
    agreement: float | None
    mcnemar_p: float | None
    leak_free: ShareResult | None
    ferplus: ShareResult | None
    classes: tuple[ClassRecall, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    right: str
    distinct: ShareResult | None = None


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


class VariantResult(Section, frozen=True):
    """One variant and its accuracy, which is empty where a run did not measure it."""

    variant: str
    size_bytes: int
    sha256: str
    accuracy: tuple[AccuracyResult, ...] = ()


class HostInfo(Section, frozen=True):
    """The machine, as far as it explains a number; nothing that tells one machine or its owner from another."""

    system: str
    machine: str
    cpu: str
    python: str
    runtime: str
    numpy: str
    int8_instructions: tuple[str, ...] = ()
    """Of the processor's instructions that multiply int8 numbers and add them up in one step those it has: they decide
    whether int8 saves time."""

    @property
    def chip(self) -> str:
        """The processor, with its int8 instructions and the architecture."""
        return f"{self.cpu} ({', '.join((self.machine, *self.int8_instructions))})"


class BundleInfo(Section, frozen=True):
    """Which bundle was measured."""

    name: str
    version: str
    labels: tuple[str, ...]
    height: int
    width: int
    temperature: float


class DatasetInfo(Section, frozen=True):
    """Which data the accuracies were measured on; ``rows_sha256`` identifies it."""

    name: str
    rows_sha256: str


class LatencySettings(Section, frozen=True):
    """How latency was measured: ``rounds`` over all configurations; in each, ``warm_up`` untimed and then ``runs``
    timed invocations of every one."""

    rounds: int = 20
    runs: int = 100
    warm_up: int = 10


class BenchmarkReport(Section, frozen=True):
    """One run; ``dataset`` is None without accuracies, ``latency_settings`` and ``machine`` without latencies,
    ``pipeline`` without whole frames, ``sequence`` without moving faces."""

    host: HostInfo
    bundle: BundleInfo
    results: tuple[VariantResult, ...]
    dataset: DatasetInfo | None = None
    latency_settings: LatencySettings | None = None
    machine: MachineChange | None = None
    latency: tuple[LatencyRow, ...] = ()
    pipeline: PipelineSection | None = None
    sequence: SequenceSection | None = None


def load_report(path: Path) -> BenchmarkReport:
    """Read the JSON of a report. Raises InputError for a file that is none, or of another format."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read this report: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not JSON, so no report of fer-edge bench") from None
    if not isinstance(table, dict) or not {"format", "bundle", "results"} <= table.keys():
        raise InputError(f"{path}: no report of fer-edge bench")
    if table["format"] != FORMAT:
        raise InputError(
            f"{path}: a report of format {table['format']}, not {FORMAT}: measure again with this fer-edge"
        )
    del table["format"]
    return decode(BenchmarkReport, table, str(path))
