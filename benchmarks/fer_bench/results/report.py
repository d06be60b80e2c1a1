"""The report of ``fer-edge bench``: its top level, its JSON, and its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fer_bench.results.accuracy import AccuracyResult
from fer_bench.results.latency import LatencyRow, LatencySettings, MachineChange
from fer_bench.results.pipeline import PipelineSection
from fer_bench.results.section import Count, CountFrom1, Positive, Section, Sha256, Text, json_schema, read_table
from fer_bench.results.sequence import SequenceSection
from fer_edge.errors import InputError
from fer_edge.settings.base import decode
from fer_edge.settings.explain import shown

FORMAT = 3
"""2 added ``leak_free``, ``ferplus`` and ``classes`` to each accuracy. 3 made ``latency`` a list with a row for each
configuration, and added ``machine``."""

REFERENCE = "float32"
"""The variant that the others are compared with."""


class VariantResult(Section, frozen=True):
    """One variant and its file."""

    variant: Text
    size_bytes: Count
    sha256: Sha256
    accuracy: Annotated[
        tuple[AccuracyResult, ...], Meta(description="One for each split; empty if accuracy was not measured.")
    ] = ()


class HostInfo(Section, frozen=True):
    """The machine, as far as it explains a number. It does not identify the machine or its owner."""

    system: str
    machine: str
    cpu: str
    python: str
    runtime: str
    numpy: str
    int8_instructions: Annotated[
        tuple[str, ...],
        Meta(
            description="Flags of the processor for dot products of int8, such as avx512_vnni or asimddp. They decide "
            "whether int8 saves time."
        ),
    ] = ()

    @property
    def chip(self) -> str:
        """The processor, with its architecture and int8 instructions."""
        return f"{self.cpu} ({', '.join((self.machine, *self.int8_instructions))})"


class BundleInfo(Section, frozen=True):
    """The bundle that was measured."""

    name: Text
    version: Text
    labels: Annotated[tuple[Text, ...], Meta(min_length=1, extra_json_schema={"uniqueItems": True})]
    height: CountFrom1
    width: CountFrom1
    temperature: Positive


class DatasetInfo(Section, frozen=True):
    """The data that accuracy was measured on."""

    name: Text
    rows_sha256: Annotated[Sha256, Meta(description="Identifies the data.")]


class BenchmarkReport(Section, frozen=True, tag_field="format", tag=FORMAT):
    """One run of ``fer-edge bench``. Parts that were not measured are null or empty."""

    host: HostInfo
    bundle: BundleInfo
    results: Annotated[tuple[VariantResult, ...], Meta(min_length=1)]
    dataset: Annotated[DatasetInfo | None, Meta(description="Null without accuracy.")] = None
    latency_settings: Annotated[LatencySettings | None, Meta(description="Null without latency.")] = None
    machine: Annotated[MachineChange | None, Meta(description="Null without latency.")] = None
    latency: Annotated[
        tuple[LatencyRow, ...], Meta(description="A row for each configuration: variant, engine and number of threads.")
    ] = ()
    pipeline: Annotated[PipelineSection | None, Meta(description="Whole frames.")] = None
    sequence: Annotated[SequenceSection | None, Meta(description="Moving faces.")] = None


def load_report(path: Path) -> BenchmarkReport:
    """Read the JSON of a report.

    Raises:
        InputError: If the file cannot be read, is not a report, is damaged, or has another format.
    """
    table = read_table(path, "fer-edge bench")
    if not isinstance(table, dict) or not {"format", "bundle", "results"} <= table.keys():
        raise InputError(f"{path}: not a report of fer-edge bench")
    found = table["format"]
    if found != FORMAT:
        newer = isinstance(found, int) and found > FORMAT
        advice = f"newer than {FORMAT}: update fer-edge" if newer else f"not {FORMAT}: measure again with this fer-edge"
        raise InputError(f"{path}: a report of format {shown(found)}, {advice}")
    return decode(BenchmarkReport, table, str(path))


def report_to_json(report: BenchmarkReport) -> str:
    """Return ``report`` as JSON text, as ``schema/report.schema.json`` describes it."""
    # Measurements may contain NumPy's numbers, which msgspec does not encode.
    table = msgspec.to_builtins(report, enc_hook=lambda value: value.item())
    return json.dumps(table, indent=2) + "\n"


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of a report, the content of ``schema/report.schema.json``."""
    return json_schema(BenchmarkReport, "Report of fer-edge bench", "Shares are 0..1, ms milliseconds, MiB 2^20 bytes.")
