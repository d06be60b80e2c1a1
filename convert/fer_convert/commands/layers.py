"""``fer-edge bench layers``: measure the error of each int8 layer."""

from __future__ import annotations

import argparse
import json
from functools import partial

import msgspec

from fer_bench.extras import require
from fer_bench.tables import percent, text_table
from fer_convert.analysis.experiment import open_experiment
from fer_convert.analysis.layer_errors import LayerReport, analyse
from fer_convert.analysis.layer_errors_plot import draw_layers
from fer_convert.commands.bench_options import check_outputs, deliver, given
from fer_train.data.dataset import PUBLIC_TEST

FORMAT = 1


def run(arguments: argparse.Namespace) -> int:
    """Measure each layer, and exports with some layers in float if requested."""
    json_path, folder = given(arguments, "json"), given(arguments, "out")
    require("statsmodels")
    check_outputs(json_path, folder)
    experiment = open_experiment(arguments.model, given(arguments, "data"), arguments.images)
    report = analyse(
        experiment, sorted(set(arguments.keep_float)), arguments.float, experiment.dataset.shown(PUBLIC_TEST)
    )
    deliver("layers", to_json(report), to_text(report), partial(draw_layers, report), json_path, folder)
    return 0


def to_json(report: LayerReport) -> str:
    """Return the report as JSON text; shares are 0..1."""
    return json.dumps({"format": FORMAT, **msgspec.to_builtins(report)}, indent=2) + "\n"


def to_text(report: LayerReport) -> str:
    """Return the report as text tables."""
    return (
        f"{report.model}: error of each int8 layer on {report.probe} images of {report.split},"
        " largest error of the logits first\n\n"
        + _layer_table(report)
        + "\nin steps: own output against float on the same input, in steps of its scale; rounding alone is 0.289\n"
        "logits: their error if only this layer is int8, and if only this layer is float\n\n" + _mixture_table(report)
    )


def _layer_table(report: LayerReport) -> str:
    rows = [
        [
            error.layer,
            "+".join(error.operators).lower(),
            str(error.number),
            f"{error.scale:.4g}",
            f"{error.rmse_steps:.3f}",
            f"{error.mean_steps:+.3f}",
            f"{error.max_steps:.2f}",
            f"{error.alone:.4f}",
            f"{error.kept_float:.4f}",
        ]
        for error in report.layers
    ]
    header = ["layer", "operator", "no.", "scale", "RMSE/step", "mean", "max", "logits: alone", "all but it"]
    return text_table(header, rows, names=2)


def _mixture_table(report: LayerReport) -> str:
    timed = any(mixture.time_ratio is not None for mixture in report.mixtures)
    header = ["", "top-1 % (95 %)", "agrees %", "logit error", "bytes", *(["time over int8's"] if timed else [])]
    rows = [
        [
            mixture.name,
            f"{percent(mixture.accuracy.accuracy, 2)}"
            f" ({percent(mixture.accuracy.low)}–{percent(mixture.accuracy.high)})",
            percent(mixture.agreement, 2),
            f"{mixture.logit_rmse:.4f}",
            f"{mixture.bytes:,}",
            *([f"{mixture.time_ratio:.2f}"] if mixture.time_ratio is not None else []),
        ]
        for mixture in report.mixtures
    ]
    kept = "".join(f"{mixture.name}: {', '.join(mixture.kept)}\n" for mixture in report.mixtures[2:])
    return text_table(header, rows) + ("\n" + kept if kept else "")
