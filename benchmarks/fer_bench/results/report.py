"""What a benchmark run produces: frozen values, written as JSON and shown as tables by ``report``."""

from __future__ import annotations

import json
from pathlib import Path

from fer_bench.results.accuracy import AccuracyResult
from fer_bench.results.latency import LatencyRow, LatencySettings, MachineChange
from fer_bench.results.pipeline import PipelineSection
from fer_bench.results.section import Section
from fer_bench.results.sequence import SequenceSection
from fer_edge.errors import InputError
from fer_edge.settings.base import decode

FORMAT = 3
"""2: ``leak_free``, ``ferplus`` and ``classes`` beside each accuracy; 3: ``latency`` is a list with a row for each
configuration (variant, engine, threads), and ``machine`` tells the machine's state before and after it."""

REFERENCE = "float32"
"""The variant that the others are compared with."""


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
