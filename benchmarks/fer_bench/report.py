"""A benchmark report as text, Markdown and JSON: the measures down the side, the variants across."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from fer_bench.results import AccuracyResult, BenchmarkReport, VariantResult
from fer_bench.tables import markdown_table, percent, text_table

FORMAT = 1
_NONE = "-"
Cell = Callable[[VariantResult], str]

_ACCURACY_ROWS: tuple[tuple[str, Callable[[AccuracyResult], str]], ...] = (
    ("accuracy %", lambda found: percent(found.accuracy, 2)),
    ("  95 % interval", lambda found: f"{percent(found.low)}–{percent(found.high)}"),
    ("balanced accuracy %", lambda found: percent(found.balanced_accuracy, 2)),
    ("calibration error (ECE) %", lambda found: percent(found.ece, 2)),
    ("agrees with float32 %", lambda found: _or_none(found.agreement, lambda share: percent(share, 2))),
    ("McNemar p against float32", lambda found: _or_none(found.mcnemar_p, _p_value)),
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


def to_json(report: BenchmarkReport) -> str:
    """The report as JSON text, ``{"format": 1, "host": …, "bundle": …, "results": […]}``."""
    table: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(report)}
    return json.dumps(table, indent=2) + "\n"


def to_text(report: BenchmarkReport) -> str:
    """The report for a terminal."""
    header, rows = _table(report)
    return f"{_title(report)}\n\n{text_table(header, rows)}\n" + "".join(f"{line}\n" for line in _notes(report))


def to_markdown(report: BenchmarkReport) -> str:
    """The report as a Markdown section."""
    header, rows = _table(report)
    notes = "".join(f"- {line}\n" for line in _notes(report))
    return f"## {_title(report)}\n\n{markdown_table(header, [[cell.strip() for cell in row] for row in rows])}\n{notes}"


def _table(report: BenchmarkReport) -> tuple[list[str], list[list[str]]]:
    results = report.results
    rows: list[list[str]] = [["file KiB", *(f"{row.size_bytes / 1024:.1f}" for row in results)]]
    splits = list(dict.fromkeys(found.split for row in results for found in row.accuracy))
    for split in splits:
        for name, cell in _ACCURACY_ROWS:
            label = name if name.startswith("  ") else f"{split} {name}"
            rows.append([label, *(_of_split(row, split, cell) for row in results)])
    timed = any(row.latency for row in results)
    weighed = any(row.memory for row in results)
    for name, of_row in (*(_LATENCY_ROWS if timed else ()), *(_MEMORY_ROWS if weighed else ())):
        rows.append([name, *(of_row(row) for row in results)])
    return ["", *(row.variant for row in results)], rows


def _of_split(row: VariantResult, split: str, cell: Callable[[AccuracyResult], str]) -> str:
    return next((cell(found) for found in row.accuracy if found.split == split), _NONE)


def _title(report: BenchmarkReport) -> str:
    return f"{report.bundle.name} {report.bundle.version}"


def _notes(report: BenchmarkReport) -> list[str]:
    host = report.host
    lines = [f"{host.cpu} ({host.machine}), {host.runtime}, Python {host.python}, numpy {host.numpy}"]
    if report.dataset is not None:
        counts = {found.split: found.n for row in report.results for found in row.accuracy}
        sizes = ", ".join(f"{n} images of {split}" for split, n in counts.items())
        lines.append(
            f"{sizes} of {report.dataset.name}; interval: Wilson; ECE: 15 bins at temperature "
            f"{report.bundle.temperature:.3f}"
        )
    if report.latency_settings is not None:
        how = report.latency_settings
        lines.append(
            f"latency: one image, {how.threads} thread{'s' * (how.threads > 1)}, {how.rounds} rounds of "
            f"{how.runs} runs, variants interleaved; RSS: a fresh process each"
        )
    return lines


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _or_none(value: Any, shown: Callable[[Any], str]) -> str:
    return _NONE if value is None else shown(value)
