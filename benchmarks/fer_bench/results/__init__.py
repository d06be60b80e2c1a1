"""The report of a benchmark: frozen values, which are written as JSON and read back."""

from fer_bench.results.accuracy import (
    AccuracyResult,
    AttributeResult,
    ClassRecall,
    GroupResult,
    ReliabilityBin,
    ShareResult,
)
from fer_bench.results.latency import (
    CpuFrequency,
    LatencyRow,
    LatencySettings,
    MachineChange,
    MachineState,
    Temperature,
    ThrottleFlags,
)
from fer_bench.results.report import (
    FORMAT,
    REFERENCE,
    BenchmarkReport,
    BundleInfo,
    DatasetInfo,
    HostInfo,
    VariantResult,
    load_report,
    report_schema,
    report_to_json,
)

__all__ = [
    "FORMAT",
    "REFERENCE",
    "AccuracyResult",
    "AttributeResult",
    "BenchmarkReport",
    "BundleInfo",
    "ClassRecall",
    "CpuFrequency",
    "DatasetInfo",
    "GroupResult",
    "HostInfo",
    "LatencyRow",
    "LatencySettings",
    "MachineChange",
    "MachineState",
    "ReliabilityBin",
    "ShareResult",
    "Temperature",
    "ThrottleFlags",
    "VariantResult",
    "load_report",
    "report_schema",
    "report_to_json",
]
