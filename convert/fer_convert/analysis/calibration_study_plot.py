"""Plot a calibration study: top-1 accuracy and agreement by the number of calibration images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_bench.plots import BLUE, GREY, RED, new_figure, save_png
from fer_convert.analysis.calibration_study import Study, StudyPoint

_COLOURS = {"balanced": BLUE, "random": RED, "brightness": "#b7791f"}
_APART = 1.06
"""Factor between the points of two rules on the logarithmic axis, so that they do not overlap."""


def draw_study(study: Study, path: Path) -> None:
    """Write a PNG with a point for each export and a line through each rule's means. Raises OutputError."""
    figure, (upper, lower) = new_figure(7.2, 7.0, rows=2, sharex=True)
    reference = study.reference
    upper.axhline(100 * reference.accuracy, color=GREY, ls="--", label="Keras (float32)")
    upper.axhspan(100 * reference.low, 100 * reference.high, color=GREY, alpha=0.2, lw=0, label="its 95 % interval")
    rules = list(dict.fromkeys(point.rule for point in study.points))
    for number, rule in enumerate(rules):
        points = [point for point in study.points if point.rule == rule]
        shift = _APART ** (number - (len(rules) - 1) / 2)
        _series(upper, points, [100 * point.accuracy.accuracy for point in points], shift)
        _series(lower, points, [100 * point.agreement for point in points], shift)
    sizes = sorted({point.size for point in study.points})
    lower.set_xscale("log", base=2)
    lower.set_xticks(sizes, [str(size) for size in sizes])
    lower.minorticks_off()
    lower.set_xlabel("Calibration images of Training (plus a black and a white one)")
    upper.set_ylabel(f"top-1 on {study.split} (%)")
    lower.set_ylabel("same label as Keras (%)")
    for axes in (upper, lower):
        axes.grid(axis="y", color=GREY, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", fontsize=8, ncols=3, frameon=False)
    stopped = " – stopped before its end" if study.partial else ""
    upper.set_title(f"{study.model}: int8 by calibration, {reference.n} images{stopped}")
    save_png(figure, path)


def _series(axes: Any, points: list[StudyPoint], values: list[float], shift: float) -> None:
    """Draw the points of one rule, with a ring around the choice of ``convert``."""
    colour = _COLOURS.get(points[0].rule)
    places = [point.size * shift for point in points]
    axes.plot(places, values, "o", color=colour, alpha=0.45, ms=5, mew=0)
    means: dict[float, list[float]] = {}
    for place, value in zip(places, values, strict=True):
        means.setdefault(place, []).append(value)
    ordered = sorted(means)
    axes.plot(
        ordered,
        [sum(means[place]) / len(means[place]) for place in ordered],
        "-",
        color=colour,
        lw=1.5,
        label=f"{points[0].rule}: each seed, and their mean",
    )
    for place, value, point in zip(places, values, points, strict=True):
        if point.shipped:
            axes.plot(
                place,
                value,
                "o",
                color="black",
                mfc="none",
                ms=11,
                mew=1.4,
                ls="none",
                label="choice of fer-edge convert",
            )
