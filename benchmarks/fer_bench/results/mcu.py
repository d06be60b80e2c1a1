"""Memory of models on a microcontroller, as ``make test-mcu`` measures it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from fer_bench.results.section import Count, CountFrom1, Section, Sha256, Text, read_table
from fer_edge.settings.base import decode


class McuResult(Section, frozen=True):
    """The int8 model of one bundle in TensorFlow Lite Micro; sizes in bytes."""

    bundle: Text
    sha256: Annotated[Sha256, Meta(description="Of the model's file.")]
    model_bytes: Annotated[CountFrom1, Meta(description="Flash for the model.")]
    code_bytes: Annotated[CountFrom1, Meta(description="Flash for code and other constants, without golden images.")]
    code_estimate_bytes: Annotated[CountFrom1, Meta(description="The same, as the export estimates it.")]
    arena_bytes: Annotated[CountFrom1, Meta(description="RAM for the tensor arena.")]
    arena_estimate_bytes: Annotated[CountFrom1, Meta(description="The same, as the export estimates it.")]
    static_bytes: Annotated[
        Count | None, Meta(description="RAM for other variables, without stack and heap; null if not measured.")
    ]
    golden: Annotated[CountFrom1, Meta(description="Inputs whose outputs were compared with LiteRT's.")]
    max_difference: Annotated[Count, Meta(description="Largest difference of an output, in int8 units.")]


class McuReport(Section, frozen=True):
    """One run of ``make test-mcu``."""

    processor: Text
    compiler: Text
    results: Annotated[tuple[McuResult, ...], Meta(min_length=1)]


def load_mcu_report(path: Path) -> McuReport:
    """Read the JSON of a report. Raises InputError if it cannot be read, or is not a report."""
    return decode(McuReport, read_table(path, "make test-mcu"), str(path))


def mcu_report_to_json(report: McuReport) -> str:
    """Return ``report`` as JSON text."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
