"""A benchmark report as text, Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from fer_bench.results import AccuracyResult, BenchmarkReport, ClassRecall, VariantResult
from fer_bench.tables import markdown_table, percent, text_table

FORMAT = 2
"""2: ``leak_free``, ``ferplus`` and ``classes`` beside each accuracy."""

_NONE = "-"
Cell = Callable[[VariantResult], str]

_ACCURACY_COLUMNS: tuple[tuple[str, Callable[[AccuracyResult], str]], ...] = (
    ("top-1 % (95 %)", lambda found: f"{percent(found.accuracy, 2)} ({percent(found.low)}–{percent(found.high)})"),
    ("leak-free", lambda found: _or_none(found.leak_free, lambda part: percent(part.accuracy, 2))),
    ("FER+", lambda found: _or_none(found.ferplus, lambda part: percent(part.accuracy, 2))),
    ("balanced", lambda found: percent(found.balanced_accuracy, 2)),
    ("ECE", lambda found: percent(found.ece, 2)),
    ("agrees", lambda found: _or_none(found.agreement, lambda share: percent(share, 2))),
    ("McNemar p", lambda found: _or_none(found.mcnemar_p, _p_value)),
)
_LATENCY_ROWS: tuple[tuple[str, Cell], ...] = (
    ("latency p50 ms", lambda row: _or_none(row.latency, lambda found: f"{found.stats.p50_ms:.3f}")),
    ("latency p95 ms", lambda row: _or_none(row.latency, lambda found: f"{found.stats.p95_ms:.3f}")),
    ("latency p99 ms", lambda row: _or_none(row.latency, lambda found: f"{found.stats.p99_ms:.3f}")),
    (
        "time over float32's",
        lambda row: _or_none(row.latency, lambda found: _or_none(found.ratio, lambda r: f"{r:.2f}")),
    ),
)
_MEMORY_ROWS: tuple[tuple[str, Cell], ...] = (
    ("load ms", lambda row: _or_none(row.memory, lambda found: f"{found.load_ms:.1f}")),
    ("RSS after load MiB", lambda row: _or_none(row.memory, lambda found: f"{found.rss_loaded_mib:.1f}")),
    ("RSS before import MiB", lambda row: _or_none(row.memory, lambda found: f"{found.rss_before_mib:.1f}")),
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Table:
    """Its first ``names`` columns say what a row is."""

    header: list[str]
    rows: list[list[str]]
    names: int


def to_json(report: BenchmarkReport) -> str:
    """The report as JSON text, ``{"format": 2, "host": …, "bundle": …, "results": […]}``."""
    table: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(report)}
    return json.dumps(table, indent=2) + "\n"


def to_text(report: BenchmarkReport) -> str:
    """The report for a terminal: 100 columns wide as long as the variants are few and their names short."""
    tables = [text_table(table.header, table.rows, table.names) for table in _tables(report)]
    return "\n".join([f"{_title(report)}\n", *tables, "".join(f"{line}\n" for line in _notes(report))])


def to_markdown(report: BenchmarkReport) -> str:
    """The report as a Markdown section."""
    tables = [markdown_table(table.header, table.rows, table.names) for table in _tables(report)]
    return "\n".join([f"## {_title(report)}\n", *tables, "".join(f"- {line}\n" for line in _notes(report))])


def _tables(report: BenchmarkReport) -> list[_Table]:
    measured = any(row.accuracy for row in report.results)
    return [*([_accuracies(report), _recalls(report)] if measured else []), _costs(report)]


def _accuracies(report: BenchmarkReport) -> _Table:
    """A row for each variant on each split; a column that nothing was measured for is left out."""
    found = [(split, row.variant, _on(row, split)) for split in _splits(report) for row in report.results]
    columns = [
        (name, cells)
        for name, cell in _ACCURACY_COLUMNS
        if set(cells := [_or_none(result, cell) for _, _, result in found]) != {_NONE}
    ]
    return _Table(
        ["split", "variant", *(name for name, _ in columns)],
        [[split, variant, *(cells[i] for _, cells in columns)] for i, (split, variant, _) in enumerate(found)],
        names=2,
    )


def _recalls(report: BenchmarkReport) -> _Table:
    """A row for each label on each split, the variants across."""
    rows = []
    for split in _splits(report):
        by_variant = [{part.label: part for part in _classes(row, split)} for row in report.results]
        for label in report.bundle.labels:
            parts = [classes.get(label) for classes in by_variant]
            images = next((str(part.support) for part in parts if part is not None), _NONE)
            rows.append([split, label, images, *(_or_none(part, _recall) for part in parts)])
    return _Table(["split", "recall % of", "images", *(row.variant for row in report.results)], rows, names=2)


def _costs(report: BenchmarkReport) -> _Table:
    """Size, and latency and memory where they were measured, the variants across."""
    results = report.results
    rows: list[tuple[str, Cell]] = [("file KiB", lambda row: f"{row.size_bytes / 1024:.1f}")]
    rows += _LATENCY_ROWS if any(row.latency for row in results) else ()
    rows += _MEMORY_ROWS if any(row.memory for row in results) else ()
    return _Table(
        ["", *(row.variant for row in results)],
        [[name, *(cell(row) for row in results)] for name, cell in rows],
        names=1,
    )


def _splits(report: BenchmarkReport) -> list[str]:
    return list(dict.fromkeys(found.split for row in report.results for found in row.accuracy))


def _on(row: VariantResult, split: str) -> AccuracyResult | None:
    return next((found for found in row.accuracy if found.split == split), None)


def _classes(row: VariantResult, split: str) -> tuple[ClassRecall, ...]:
    found = _on(row, split)
    return () if found is None else found.classes


def _title(report: BenchmarkReport) -> str:
    return f"{report.bundle.name} {report.bundle.version}"


def _notes(report: BenchmarkReport) -> list[str]:
    host = report.host
    lines = [f"{host.cpu} ({host.machine}), {host.runtime}, Python {host.python}, numpy {host.numpy}"]
    if report.dataset is not None:
        lines += _accuracy_notes(report, report.dataset.name)
    if report.latency_settings is not None:
        how = report.latency_settings
        lines.append(
            f"latency: one image, {how.threads} thread{'s' * (how.threads > 1)}, {how.rounds} rounds of "
            f"{how.runs} runs, variants interleaved; RSS: a fresh process each"
        )
    return lines


def _accuracy_notes(report: BenchmarkReport, dataset: str) -> list[str]:
    found = {result.split: result for row in report.results for result in row.accuracy}
    lines = []
    for split, result in found.items():
        leak_free = 0 if result.leak_free is None else result.leak_free.n
        voted = "" if result.ferplus is None else f", {result.ferplus.n} with a FER+ majority"
        lines.append(f"{split} of {dataset}: {result.n} images, {leak_free} leak-free{voted}")
    lines.append(f"top-1: Wilson's 95 % interval; ECE: 15 bins at temperature {report.bundle.temperature:.3f}")
    lines.append("leak-free: top-1 on the images that stand in no other split, each counted once")
    if any(result.ferplus for result in found.values()):
        lines.append("FER+: share of the images named as its raters named them most often")
    if any(result.agreement is not None for row in report.results for result in row.accuracy):
        lines.append("agrees, McNemar p and, in brackets, change of recall in points: against float32")
    return lines


def _recall(part: ClassRecall) -> str:
    change = "" if part.change is None else f" ({100 * part.change:+.1f})"
    return _or_none(part.recall, lambda share: percent(share) + change)


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _or_none(value: Any, shown: Callable[[Any], str]) -> str:
    return _NONE if value is None else shown(value)
