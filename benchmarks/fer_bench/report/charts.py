"""The plots of a report. Each function returns a matplotlib figure, or None if the report lacks the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fer_bench.latency.engines import LITERT, ONNX_RUNTIME
from fer_bench.plots import BLUE, GREY, RED, new_figure
from fer_bench.results import REFERENCE, AccuracyResult, BenchmarkReport, LatencyRow, VariantResult
from fer_bench.tables import percent

_PREFERRED = "int8"
"""The variant that is compared with float32 in plots with room for one."""


def chosen_split(report: BenchmarkReport) -> str | None:
    """Return the split to draw: the last one, so PrivateTest with --final, else PublicTest."""
    splits = [found.split for row in report.results for found in row.accuracy]
    return splits[-1] if splits else None


def accuracy_against_latency(report: BenchmarkReport) -> Any:
    """Draw top-1 with its interval over latency with one thread, median and middle half. Area is the file size."""
    points = [
        (row, found, latency)
        for row in report.results
        if (found := _drawn(report, row)) is not None and (latency := main_row(report, row.variant)) is not None
    ]
    if not points:
        return None
    figure, axes = new_figure(7.2, 4.6)
    for number, (row, found, latency) in enumerate(points):
        top1 = 100 * found.accuracy
        first, median, third = _quantiles(latency, 25, 50, 75)
        axes.errorbar(
            median,
            top1,
            xerr=[[median - first], [third - median]],
            yerr=[[top1 - 100 * found.low], [100 * found.high - top1]],
            fmt="none",
            ecolor=GREY,
            elinewidth=1,
            capsize=3,
            zorder=1,
        )
        axes.scatter(
            median,
            top1,
            s=row.size_bytes / 1024 / 12,
            color=f"C{number}",
            alpha=0.85,
            zorder=2,
            label=f"{row.variant} ({row.size_bytes / 1024:,.0f} KiB)",
        )
    _logarithmic(axes)
    axes.set_xlabel("milliseconds per image (logarithmic), one thread: median and middle half")
    axes.set_ylabel("top-1 %, 95 % interval")
    axes.set_title(f"Accuracy on {chosen_split(report)} against latency")
    axes.grid(alpha=0.25)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title="area: file size")
    for handle in legend.legend_handles:
        handle.set_sizes([60])
    return figure


def latency_distributions(report: BenchmarkReport) -> Any:
    """Draw each configuration: the middle half of the runs as a bar, 2 to 98 % as a line, the median as a mark."""
    rows = report.latency[::-1]
    if not rows:
        return None
    figure, axes = new_figure(7.6, 1.3 + 0.3 * len(rows))
    for place, row in enumerate(rows):
        low, first, median, third, high = _quantiles(row, 2, 25, 50, 75, 98)
        axes.plot([low, high], [place, place], color=GREY, linewidth=1.5, zorder=1)
        axes.barh(place, third - first, left=first, height=0.55, color=BLUE, zorder=2)
        axes.plot([median, median], [place - 0.32, place + 0.32], color=RED, linewidth=2, zorder=3)
    axes.set_yticks(range(len(rows)), [_named(row) for row in rows])
    _logarithmic(axes)
    axes.set_xlabel("milliseconds per image (logarithmic): 2–98 %, middle half, median")
    axes.set_title("Latency of every configuration")
    axes.grid(axis="x", alpha=0.25, which="both")
    return figure


def confusions(report: BenchmarkReport) -> Any:
    """Draw the confusion matrices of float32 and the quantized variant, in percent of the true class, and their
    difference in images."""
    pair = _compared(report)
    if not pair:
        return None
    figure, places = new_figure(5.2 * (len(pair) + (len(pair) == 2)), 5.0, columns=len(pair) + (len(pair) == 2))
    panels = np.atleast_1d(places)
    for axes, (name, found) in zip(panels, pair, strict=False):
        counts = np.array(found.confusion)
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        _matrix(axes, shares, report.bundle.labels, "Blues", (0, 100), "{:.0f}")
        axes.set_title(f"{name}: % of the true class")
    if len(pair) == 2:
        change = np.array(pair[1][1].confusion) - np.array(pair[0][1].confusion)
        limit = max(1, int(np.abs(change).max()))
        _matrix(panels[2], change, report.bundle.labels, "RdBu_r", (-limit, limit), "{:+d}")
        panels[2].set_title(f"{pair[1][0]} minus {pair[0][0]}: images")
    panels[0].set_ylabel("true")
    figure.suptitle(f"Confusion on {pair[0][1].split} ({pair[0][1].n:,} images)")
    return figure


def reliability(report: BenchmarkReport) -> Any:
    """Draw accuracy over confidence for float32 and the quantized variant, with the images of each bin below."""
    pair = _compared(report)
    if not pair:
        return None
    figure, places = new_figure(
        4.8 * len(pair), 5.0, rows=2, columns=len(pair), height_ratios=[3, 1], sharex=True, squeeze=False
    )
    for column, (name, found) in enumerate(pair):
        upper, lower = places[0][column], places[1][column]
        bins = found.reliability
        width = 1 / len(bins)
        middles = [(number + 0.5) * width for number in range(len(bins))]
        filled = [number for number, part in enumerate(bins) if part.count]
        upper.plot([0, 1], [0, 1], "--", color=GREY, label="perfect calibration")
        upper.bar(
            [middles[i] for i in filled], [bins[i].accuracy for i in filled], width * 0.92, color=BLUE, alpha=0.75
        )
        upper.plot([bins[i].confidence for i in filled], [bins[i].accuracy for i in filled], "o", color=RED)
        upper.set_title(f"{name}: calibration error {percent(found.ece, 2)} %")
        upper.set_ylim(0, 1)
        lower.bar(middles, [part.count for part in bins], width * 0.92, color=GREY)
        lower.set_xlabel("confidence")
        lower.set_xlim(0, 1)
    places[0][0].set_ylabel("accuracy (bar), at mean confidence (dot)")
    places[1][0].set_ylabel("images")
    figure.suptitle(f"Reliability on {pair[0][1].split}, temperature {pair[0][1].temperature:.3f}")
    return figure


def recall_changes(report: BenchmarkReport) -> Any:
    """Draw the change of each class's recall from float32, in points, for each other variant."""
    others = [
        (row.variant, found)
        for row in report.results
        if row.variant != REFERENCE
        and (found := _drawn(report, row)) is not None
        and any(part.change is not None for part in found.classes)
    ]
    if not others:
        return None
    labels = [f"{part.label}\n({part.support})" for part in others[0][1].classes]
    figure, axes = new_figure(7.6, 4.0)
    width = 0.8 / len(others)
    for number, (name, found) in enumerate(others):
        changes = [100 * (part.change or 0.0) for part in found.classes]
        places = np.arange(len(labels)) + (number - (len(others) - 1) / 2) * width
        axes.bar(places, changes, width * 0.92, label=name)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel("change of recall, points")
    axes.set_title(f"Change of recall from {REFERENCE} ({others[0][1].split}; images in brackets)")
    axes.legend(frameon=False, ncols=3)
    axes.grid(axis="y", alpha=0.25)
    return figure


def _drawn(report: BenchmarkReport, row: VariantResult) -> AccuracyResult | None:
    split = chosen_split(report)
    return next((found for found in row.accuracy if found.split == split), None)


def _compared(report: BenchmarkReport) -> list[tuple[str, AccuracyResult]]:
    """Return float32 and int8 (or the first other variant), if they were measured."""
    found = {row.variant: result for row in report.results if (result := _drawn(report, row)) is not None}
    others = sorted((name for name in found if name != REFERENCE), key=lambda name: name != _PREFERRED)
    return [(name, found[name]) for name in ([REFERENCE] if REFERENCE in found else []) + others[:1]]


def main_row(report: BenchmarkReport, variant: str) -> LatencyRow | None:
    """Return a variant's latency on its main engine, litert or ONNX Runtime, with one thread."""
    rows = [row for row in report.latency if row.variant == variant and row.threads == 1]
    return next((row for engine in (LITERT, ONNX_RUNTIME) for row in rows if row.engine == engine), None)


def _quantiles(row: LatencyRow, *wanted: float) -> list[float]:
    """Return the time in ms at the ``wanted`` percentages of the distribution."""
    at = np.linspace(0, 100, len(row.quantiles_ms))
    return [float(np.interp(percentage, at, row.quantiles_ms)) for percentage in wanted]


def _logarithmic(axes: Any) -> None:
    """Make the x axis logarithmic, with the ticks 1, 2, 5, 10 …, and more on a short axis."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    digits = "25" if high / low > 8 else "12345678"
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in digits else "")


def _named(row: LatencyRow) -> str:
    return f"{row.variant} · {row.engine} · {row.threads}"


def _matrix(
    axes: Any, values: Any, labels: Sequence[str], colours: str, limits: tuple[float, float], shown: str
) -> None:
    axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1])
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    span = max(abs(limits[0]), abs(limits[1]))
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        dark = abs(value) > 0.6 * span
        axes.text(
            column, row, shown.format(value), ha="center", va="center", fontsize=8, color="white" if dark else "black"
        )
