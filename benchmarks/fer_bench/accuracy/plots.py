"""The confusion matrix and the reliability diagram as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_bench import metrics
from fer_bench.accuracy.evaluation import Evaluation
from fer_bench.plots import BLUE, GREY, RED, new_figure, save_png
from fer_bench.tables import percent


def draw_confusion(evaluation: Evaluation, path: Path) -> None:
    """Draw the confusion matrix, with counts in the cells and colors by the share of the true class.

    Raises OutputError.
    """
    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 1.6 + 0.75 * len(counts)
    figure, axes = new_figure(size + 0.6, size)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    ticks = range(len(counts))
    axes.set_xticks(ticks, evaluation.labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        ticks, [f"{name} ({total})" for name, total in zip(evaluation.labels, counts.sum(axis=1), strict=True)]
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (images)")
    axes.set_title(_title(evaluation))
    for row, column in np.ndindex(counts.shape):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{counts[row, column]}\n{percent(float(share), 0)} %",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if share > 0.6 else "black",
        )
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("share of the true class")
    save_png(figure, path)


def draw_reliability(evaluation: Evaluation, path: Path) -> None:
    """Draw accuracy over confidence in the bins of the calibration error, and the number of images in each.

    Raises OutputError.
    """
    bins = metrics.reliability_bins(evaluation.probabilities, evaluation.truth)
    filled = bins.counts > 0
    middles, width = (bins.edges[:-1] + bins.edges[1:]) / 2, bins.edges[1] - bins.edges[0]
    figure, (upper, lower) = new_figure(5.6, 6.4, rows=2, height_ratios=[3, 1], sharex=True)
    upper.plot([0, 1], [0, 1], "--", color=GREY, label="perfectly calibrated")
    upper.bar(middles[filled], bins.accuracy[filled], width * 0.92, color=BLUE, alpha=0.75, label="accuracy")
    upper.plot(bins.confidence[filled], bins.accuracy[filled], "o", color=RED, markersize=5, label="at mean confidence")
    upper.set_ylim(0, 1)
    upper.set_ylabel("accuracy")
    upper.legend(loc="upper left")
    upper.set_title(
        f"{_title(evaluation)}\nECE {percent(evaluation.ece, 2)} % at temperature {evaluation.temperature:.3f}"
    )
    lower.bar(middles, bins.counts, width * 0.92, color=GREY)
    lower.set_xlim(0, 1)
    lower.set_ylabel("images")
    lower.set_xlabel("confidence")
    save_png(figure, path)


def _title(evaluation: Evaluation) -> str:
    return f"{evaluation.model} on {evaluation.split}: {percent(evaluation.accuracy)} % of {evaluation.n}"
