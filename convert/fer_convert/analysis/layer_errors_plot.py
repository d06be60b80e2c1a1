"""Plot the errors of the layers, from the first layer to the last."""

from __future__ import annotations

from pathlib import Path

from fer_bench.plots import BLUE, GREY, RED, new_figure, save_png
from fer_convert.analysis.layer_errors import IDEAL, LayerReport


def draw_layers(report: LayerReport, path: Path) -> None:
    """Write a PNG: left each layer's own error in steps, right the error of the logits. Raises OutputError."""
    layers = sorted(report.layers, key=lambda error: error.number)
    places = range(len(layers))
    figure, (left, right) = new_figure(10.5, 1.6 + 0.26 * len(layers), columns=2, sharey=True)
    left.barh(places, [error.rmse_steps for error in layers], color=BLUE, height=0.7)
    left.axvline(IDEAL, color=GREY, ls="--", label="rounding alone: 0.289")
    left.set_yticks(places, [error.layer for error in layers])
    left.invert_yaxis()
    left.set_xlabel("RMSE of its own output (steps of its scale)")
    left.set_title("each layer against float, on the same input", fontsize=10)
    int8 = next(mixture for mixture in report.mixtures if not mixture.kept)
    right.barh(places, [error.alone for error in layers], color=RED, height=0.7, label="this layer alone int8")
    right.plot(
        [error.kept_float for error in layers], places, "D", color="black", ms=4, label="this layer alone in float"
    )
    right.axvline(int8.logit_rmse, color=GREY, ls="--", label="all int8")
    right.set_xlabel("RMSE of the logits")
    right.set_title("error of the logits", fontsize=10)
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.5 / (0.26 * len(layers))), ncols=3, fontsize=8, frameon=False
        )
    figure.suptitle(f"{report.model}: int8 by layer, {report.probe} images of {report.split}")
    save_png(figure, path)
