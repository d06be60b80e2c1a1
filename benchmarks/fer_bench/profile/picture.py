"""Draw a profile: the time of each layer, and the roofline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_bench.extras import require
from fer_bench.plots import BLUE, GREY, RED, new_figure, save_png
from fer_bench.profile.text import share
from fer_bench.results.profile import ModelProfile, ProfileReport

_COLOURS = (BLUE, RED)


def draw(report: ProfileReport, path: Path) -> None:
    """Write a PNG: for each model the share of time by layer, then the roofline. Raises OutputError."""
    most = max(len(model.layers) for model in report.models)
    columns = len(report.models) + 1
    figure, axes = new_figure(4.6 * columns, 2.2 + 0.22 * max(most, 12), columns=columns)
    for place, model in enumerate(report.models):
        _draw_layers(axes[place], model, _COLOURS[place])
    _draw_roof(axes[-1], report)
    figure.suptitle(" and ".join(f"{model.model}, {model.variant}" for model in report.models))
    save_png(figure, path)


def _draw_layers(axes: Any, model: ModelProfile, colour: str) -> None:
    for place, layer in enumerate(model.layers):
        time = layer.time
        if time is not None and time.measured:
            axes.barh(place, 100 * time.us / model.time_us, color=colour, height=0.7)
        elif time is not None:
            axes.barh(place, 100 * time.max_us / model.time_us, color="none", edgecolor=GREY, height=0.7)
        widest = 0.0 if time is None else 100 * (time.us if time.measured else time.max_us) / model.time_us
        axes.annotate(
            share(time, model.time_us), (widest, place), (3, 0), textcoords="offset points", va="center", fontsize=7
        )
    axes.set_yticks(range(len(model.layers)), [layer.layer for layer in model.layers], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"share of {model.time_us:,.0f} µs (%); outlined: below noise, at most")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_roof(axes: Any, report: ProfileReport) -> None:
    roof = report.roof
    points = [_points(model) for model in report.models]
    ridge = roof.int8_macs_per_s / roof.copied_bytes_per_s
    every = [x for some in points for x, _ in some] + [ridge] + [model.macs_per_byte for model in report.models]
    grid = [min(every) / 2, ridge, max(every) * 2]
    axes.plot(grid, [roof.attainable(x) / 1e9 for x in grid], color="black", lw=1.2, label="roof: copies, then int8")
    for model, some, colour in zip(report.models, points, _COLOURS, strict=False):
        axes.scatter([x for x, _ in some], [y for _, y in some], s=14, color=colour, alpha=0.45, label="its layers")
        axes.scatter(
            [model.macs_per_byte],
            [model.macs_per_s / 1e9],
            s=90,
            marker="D",
            color=colour,
            edgecolor="black",
            label=f"{model.model}, {model.variant}",
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(require("matplotlib.ticker").LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.set_xlabel("MACs per byte moved")
    axes.set_ylabel("GMAC/s")
    axes.set_title("roofline of one core", fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def _points(model: ModelProfile) -> list[tuple[float, float]]:
    """Return MACs per byte and GMAC/s of each layer with MACs and a measured time of its own."""
    return [
        (layer.macs / layer.moved_bytes, layer.macs / layer.time.us / 1e3)
        for layer in model.layers
        if layer.macs and layer.time is not None and layer.time.measured and layer.time.layers == 1
    ]
