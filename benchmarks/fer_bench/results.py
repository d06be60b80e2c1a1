"""What a benchmark run produces: frozen values, written as JSON and shown as tables by ``report``."""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE = "float32"
"""The variant that the others are compared with."""


@dataclass(frozen=True, slots=True)
class ShareResult:
    """How many of ``n`` images are named right, as a share 0..1 with its 95 % interval."""

    n: int
    correct: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassRecall:
    """How many of the ``support`` images that bear ``label`` are named so; ``recall`` is None when there is none.

    ``change`` is the recall less float32's (None for float32 itself, and where there is none).
    """

    label: str
    support: int
    correct: int
    recall: float | None
    change: float | None


@dataclass(frozen=True, slots=True)
class AccuracyResult:
    """Accuracy of a variant on a split; ``agreement`` and ``mcnemar_p`` compare it with float32 (None for float32
    itself, and where there is none).

    Shares are 0..1; ``low`` and ``high`` bound the 95 % interval; ``ece`` is at the manifest's ``temperature``.
    ``leak_free`` is over the images that stand in no other split, each once; ``ferplus`` goes by the majority of
    the FER+ votes in place of the label, over the images that have one; None where there is no such image, or no vote.
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


@dataclass(frozen=True, slots=True)
class LatencyStats:
    """Percentiles over ``runs`` timed invocations, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    runs: int


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """Latency of one invocation; ``ratio`` is the time over float32's in the same run (None: no float32)."""

    stats: LatencyStats
    ratio: float | None


@dataclass(frozen=True, slots=True)
class MemoryResult:
    """One fresh process that loads a variant and invokes it once.

    Resident set in MiB (2**20 bytes): of the bare interpreter, after importing the runtime, and at the end.
    ``import_ms`` is the import of the runtime, ``load_ms`` opening the file and allocating its tensors.
    """

    rss_before_mib: float
    rss_import_mib: float
    rss_loaded_mib: float
    import_ms: float
    load_ms: float


@dataclass(frozen=True, slots=True)
class VariantResult:
    """All that was measured of one variant; what a run did not measure is empty or None."""

    variant: str
    size_bytes: int
    sha256: str
    accuracy: tuple[AccuracyResult, ...] = ()
    latency: LatencyResult | None = None
    memory: MemoryResult | None = None


@dataclass(frozen=True, slots=True)
class HostInfo:
    """The machine, as far as it explains a number; nothing that tells one machine or its owner from another."""

    system: str
    machine: str
    cpu: str
    python: str
    runtime: str
    numpy: str


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """Which bundle was measured."""

    name: str
    version: str
    labels: tuple[str, ...]
    height: int
    width: int
    temperature: float


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Which data the accuracies were measured on; ``rows_sha256`` identifies it."""

    name: str
    rows_sha256: str


@dataclass(frozen=True, slots=True)
class LatencySettings:
    """How latency was measured: ``rounds`` over all variants, ``runs`` timed invocations in each, ``threads``."""

    rounds: int = 20
    runs: int = 100
    threads: int = 1


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """One run; ``dataset`` is None without accuracies, ``latency_settings`` without latencies."""

    host: HostInfo
    bundle: BundleInfo
    results: tuple[VariantResult, ...]
    dataset: DatasetInfo | None = None
    latency_settings: LatencySettings | None = None
