"""A benchmark report as text and Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from fer_bench.metrics import macro_f1
from fer_bench.report import group_tables, pipeline_tables, sequence_tables
from fer_bench.report.verdict import verdict
from fer_bench.results import (
    AccuracyResult,
    BenchmarkReport,
    ClassRecall,
    LatencyRow,
    LatencySettings,
    MachineState,
    VariantResult,
)
from fer_bench.tables import Table, markdown_table, p_value, percent, text_table

_NONE = "-"
_COLUMNS = 100
"""Maximum width of the text on a terminal."""
_MIN_RUNS = 1000
"""With this many, ten runs are above p99."""

_ACCURACY_COLUMNS: tuple[tuple[str, Callable[[AccuracyResult], str]], ...] = (
    ("top-1 % (95 %)", lambda found: f"{percent(found.accuracy, 2)} ({percent(found.low)}–{percent(found.high)})"),
    ("leak-free", lambda found: _or_none(found.leak_free, lambda part: percent(part.accuracy, 2))),
    ("distinct", lambda found: _or_none(found.distinct, lambda part: percent(part.accuracy, 2))),
    ("mirror", lambda found: _or_none(found.mirrored, lambda part: percent(part.accuracy, 2))),
    ("ten crops", lambda found: _or_none(found.ten_crops, lambda part: percent(part.accuracy, 2))),
    ("FER+", lambda found: _or_none(found.ferplus, lambda part: percent(part.accuracy, 2))),
    ("balanced", lambda found: percent(found.balanced_accuracy, 2)),
    ("macro-F1", lambda found: percent(macro_f1(found.confusion), 2)),
    ("ECE", lambda found: percent(found.ece, 2)),
)
_CHANGE_COLUMNS: tuple[tuple[str, Callable[[AccuracyResult], str]], ...] = (
    ("agrees", lambda found: _or_none(found.agreement, lambda share: percent(share, 2))),
    ("McNemar p", lambda found: _or_none(found.mcnemar_p, p_value)),
)
_LATENCY_COLUMNS: tuple[tuple[str, Callable[[LatencyRow], str]], ...] = (
    ("p50 ms", lambda row: f"{row.p50_ms:.3f}"),
    ("p95 ms", lambda row: f"{row.p95_ms:.3f}"),
    ("p99 ms", lambda row: f"{row.p99_ms:.3f}"),
    ("max ms", lambda row: f"{row.max_ms:.3f}"),
    ("ratio", lambda row: _or_none(row.ratio, lambda ratio: f"{ratio:.2f}")),
    ("busy", lambda row: _count_or_none(row.busy_rounds)),
    ("throttled", lambda row: _count_or_none(row.throttled_rounds)),
)
_COST_COLUMNS: tuple[tuple[str, Callable[[LatencyRow], str]], ...] = (
    ("delegated", lambda row: _or_none(row.nodes, lambda nodes: f"{row.delegated_nodes}/{nodes}")),
    ("GMAC/s", lambda row: _or_none(row.mac_per_s, lambda speed: f"{speed / 1e9:.2f}")),
    ("load ms", lambda row: f"{row.load_ms:.1f}"),
    ("RSS MiB", lambda row: f"{row.rss_loaded_mib:.1f}"),
    ("before", lambda row: f"{row.rss_before_mib:.1f}"),
    ("file KiB", lambda row: f"{row.size_bytes / 1024:.1f}"),
)


def to_text(report: BenchmarkReport) -> str:
    """Return the report for a terminal. It fits 100 columns if there are few variants with short names."""
    shown = [text_table(table.header, table.rows, table.names) for table in tables(report)]
    head = "".join(f"{textwrap.fill(line, _COLUMNS)}\n" for line in (title(report), *verdict(report)))
    return "\n".join([head, *shown, "".join(f"{line}\n" for line in notes(report))])


def to_markdown(report: BenchmarkReport) -> str:
    """Return the report as a Markdown section."""
    shown = [
        f"### {table.title}\n\n{markdown_table(table.header, table.rows, table.names)}" for table in tables(report)
    ]
    opening = [f"{line}\n" for line in verdict(report)]
    return "\n".join([f"## {title(report)}\n", *opening, *shown, "".join(f"- {line}\n" for line in notes(report))])


def tables(report: BenchmarkReport) -> list[Table]:
    """Return a table for each kind of measurement."""
    measured = any(row.accuracy for row in report.results)
    compared = any(result.agreement is not None for row in report.results for result in row.accuracy)
    return [
        *([_accuracies(report, _ACCURACY_COLUMNS, "Accuracy")] if measured else []),
        *([_accuracies(report, _CHANGE_COLUMNS, "Against float32")] if compared else []),
        *([_recalls(report)] if measured else []),
        *group_tables.tables(report),
        *(
            [
                _configurations(report, _LATENCY_COLUMNS, "Latency of one image"),
                _configurations(report, _COST_COLUMNS, "XNNPACK, speed, memory and file size"),
            ]
            if report.latency
            else []
        ),
        *([] if report.latency or report.pipeline or report.sequence else [_sizes(report)]),
        *(pipeline_tables.tables(report.pipeline) if report.pipeline else []),
        *(sequence_tables.tables(report.sequence) if report.sequence else []),
    ]


def _accuracies(
    report: BenchmarkReport, kinds: tuple[tuple[str, Callable[[AccuracyResult], str]], ...], title: str
) -> Table:
    """Return a row for each variant on each split, without columns that were not measured."""
    found = [(split, row.variant, _on(row, split)) for split in _splits(report) for row in report.results]
    columns = [
        (name, cells)
        for name, cell in kinds
        if set(cells := [_or_none(result, cell) for _, _, result in found]) != {_NONE}
    ]
    return Table(
        ["split", "variant", *(name for name, _ in columns)],
        [[split, variant, *(cells[i] for _, cells in columns)] for i, (split, variant, _) in enumerate(found)],
        names=2,
        title=title,
    )


def _recalls(report: BenchmarkReport) -> Table:
    """Return a row for each label on each split, and a column for each variant."""
    rows = []
    for split in _splits(report):
        by_variant = [{part.label: part for part in _classes(row, split)} for row in report.results]
        for label in report.bundle.labels:
            parts = [classes.get(label) for classes in by_variant]
            images = next((str(part.support) for part in parts if part is not None), _NONE)
            rows.append([split, label, images, *(_or_none(part, _recall) for part in parts)])
    return Table(
        ["split", "recall % of", "images", *(row.variant for row in report.results)], rows, 2, "Recall of each class"
    )


def _configurations(
    report: BenchmarkReport, columns: tuple[tuple[str, Callable[[LatencyRow], str]], ...], title: str
) -> Table:
    """Return a row for each variant, engine and number of threads, without columns of unknown values."""
    found = [(name, cells) for name, cell in columns if set(cells := [cell(row) for row in report.latency]) != {_NONE}]
    return Table(
        ["variant", "engine", "threads", *(name for name, _ in found)],
        [
            [row.variant, row.engine, str(row.threads), *(cells[i] for _, cells in found)]
            for i, row in enumerate(report.latency)
        ],
        names=2,
        title=title,
    )


def _sizes(report: BenchmarkReport) -> Table:
    sizes = [f"{row.size_bytes / 1024:.1f}" for row in report.results]
    return Table(["", *(row.variant for row in report.results)], [["file KiB", *sizes]], names=1, title="Files")


def _splits(report: BenchmarkReport) -> list[str]:
    return list(dict.fromkeys(found.split for row in report.results for found in row.accuracy))


def _on(row: VariantResult, split: str) -> AccuracyResult | None:
    return next((found for found in row.accuracy if found.split == split), None)


def _classes(row: VariantResult, split: str) -> tuple[ClassRecall, ...]:
    found = _on(row, split)
    return () if found is None else found.classes


def title(report: BenchmarkReport) -> str:
    """Return the bundle's name and version."""
    return f"{report.bundle.name} {report.bundle.version}"


def notes(report: BenchmarkReport) -> list[str]:
    """Return how and on which machine it was measured, one line each."""
    host = report.host
    lines = [f"{host.chip}, {host.runtime}, Python {host.python}, numpy {host.numpy}"]
    if report.dataset is not None:
        lines += _accuracy_notes(report, report.dataset.name)
    if report.latency_settings is not None:
        lines += _latency_notes(report, report.latency_settings)
    if report.machine is not None:
        lines += [
            f"machine before: {_machine(report.machine.before)}",
            f"machine after: {_machine(report.machine.after)}",
        ]
        if report.machine.others_share is not None:
            lines.append(f"other processes used {percent(report.machine.others_share, 0)} % of the processor time")
    if report.pipeline is not None:
        lines += pipeline_tables.notes(report.pipeline)
    if report.sequence is not None:
        lines += sequence_tables.notes(report.sequence)
    return lines


def _latency_notes(report: BenchmarkReport, how: LatencySettings) -> list[str]:
    rows = report.latency
    lines = [
        f"latency: one image, a process for each row; {how.rounds} rounds of {how.warm_up} untimed and {how.runs} "
        "timed runs each",
        f"engines: {', '.join(dict.fromkeys(row.runtime for row in rows))}",
    ]
    if any(row.ratio is not None for row in rows):
        lines.append("ratio: time relative to float32 on litert with one thread, median over the rounds")
    if any(row.nodes is not None for row in rows):
        lines.append("delegated: nodes of the graph that XNNPACK runs, of all nodes")
    if any(row.busy_rounds for row in rows):
        lines.append("busy: rounds in which the process waited for a core; measure again on an idle machine")
    if any(row.throttled_rounds for row in rows):
        lines.append(
            "throttled: rounds in which the machine was slowed down by heat or low voltage; check cooling and supply"
        )
    if how.rounds * how.runs < _MIN_RUNS:
        lines.append(f"fewer than {_MIN_RUNS} runs of each: p99 and max are not reliable")
    return lines


def _machine(state: MachineState) -> str:
    """Return a line with the known values."""
    parts = []
    if state.frequencies:
        governors = dict.fromkeys(found.governor for found in state.frequencies if found.governor is not None)
        current = [found.current_mhz for found in state.frequencies if found.current_mhz is not None]
        highest = [found.max_mhz for found in state.frequencies if found.max_mhz is not None]
        parts += [f"governor {'/'.join(governors)}"] if governors else []
        parts += [f"{min(current):.0f} MHz"] if current else []
        parts += [f"of at most {max(highest):.0f} MHz"] if highest else []
    if state.temperatures:
        hottest = max(state.temperatures, key=lambda found: found.celsius)
        parts.append(f"{hottest.celsius:.1f} °C ({hottest.sensor})")
    if state.throttled is not None:
        parts.append(f"now {' and '.join(state.throttled.now) or 'not throttled'}")
        parts.append(f"since boot {' and '.join(state.throttled.since_boot) or 'never throttled'}")
    if state.throttle_count is not None:
        parts.append(f"cores throttled {state.throttle_count} times since boot")
    if state.load_average is not None:
        parts.append(f"load {state.load_average[0]:.2f}")
    return ", ".join(parts) or "no information"


def _accuracy_notes(report: BenchmarkReport, dataset: str) -> list[str]:
    found = {result.split: result for row in report.results for result in row.accuracy}
    lines = []
    for split, result in found.items():
        leak_free = 0 if result.leak_free is None else result.leak_free.n
        distinct = "" if result.distinct is None else f", {result.distinct.n} distinct"
        voted = "" if result.ferplus is None else f", {result.ferplus.n} with a FER+ majority"
        lines.append(f"{split} of {dataset}: {result.n} images, {leak_free} leak-free{distinct}{voted}")
    lines.append(f"top-1: Wilson's 95 % interval; ECE: 15 bins at temperature {report.bundle.temperature:.3f}")
    lines.append("leak-free: top-1 without exact duplicates in other splits, each image counted once")
    if any(result.distinct for result in found.values()):
        lines.append(
            "distinct: leak-free, and without near duplicates in Training (correlation 0.98 at 12 x 12 pixels)"
        )
    if any(result.mirrored for row in report.results for result in row.accuracy):
        lines.append(
            "mirror, ten crops: top-1 of the mean over 2 and 10 views of each image, for comparison with papers"
        )
    if any(result.ferplus for result in found.values()):
        lines.append("FER+: share of the images with the label that most of its raters gave")
    if any(result.agreement is not None for row in report.results for result in row.accuracy):
        lines.append("agrees, McNemar p and, in brackets, change of recall in points: against float32")
    return lines + group_tables.notes(report)


def _recall(part: ClassRecall) -> str:
    change = "" if part.change is None else f" ({100 * part.change:+.1f})"
    return _or_none(part.recall, lambda share: percent(share) + change)


def _count_or_none(rounds: int | None) -> str:
    """Return a dash for none, so that a column without disturbed rounds is left out."""
    return str(rounds) if rounds else _NONE


def _or_none(value: Any, shown: Callable[[Any], str]) -> str:
    return _NONE if value is None else shown(value)
