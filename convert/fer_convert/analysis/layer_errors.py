"""Quantization error by layer: of the layer's output, of the logits, and of exports with some layers in float."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from fer_bench.extras import progress
from fer_bench.latency.measure import time_files
from fer_bench.results import DatasetInfo, LatencySettings, ShareResult
from fer_convert.analysis.experiment import Experiment
from fer_convert.analysis.mixed_precision import SelectiveQuantizer
from fer_convert.export.tflite import export
from fer_convert.export.variants import VARIANTS
from fer_convert.quantization.calibration import calibration_images
from fer_edge.errors import InputError
from fer_edge.types import Float32Array

PROBE = 200
"""Number of PublicTest images on which errors are measured: more images give about the same errors."""
IDEAL = 12**-0.5
"""Root mean square of an error that is uniform over one step: that of rounding alone."""
_TURNS = LatencySettings(rounds=20, runs=50)


class LayerError(msgspec.Struct, frozen=True):
    """Errors of a quantized layer, over the probe images.

    Attributes:
        number: Position in execution order, from 1.
        layer: Name in the Keras model.
        operators: Its TFLite operators.
        scale: Scale of its output.
        rmse_steps: Root mean square difference from the float layer on the same int8 input, in steps of ``scale``.
        mean_steps: Mean of this difference.
        max_steps: Maximum of this difference, as a mean over the images.
        alone: Root mean square error of the logits if only this layer is int8.
        kept_float: The same if only this layer is float.
    """

    number: int
    layer: str
    operators: tuple[str, ...]
    scale: float
    rmse_steps: float
    mean_steps: float
    max_steps: float
    alone: float
    kept_float: float


class Mixture(msgspec.Struct, frozen=True):
    """An export in mixed precision: the layers ``kept`` in float, the others int8.

    ``logit_rmse`` is against Keras, over the probe images. ``time_ratio`` is its time over int8's; None if only int8
    was measured.
    """

    name: str
    kept: tuple[str, ...]
    bytes: int
    accuracy: ShareResult
    agreement: float
    logit_rmse: float
    time_ratio: float | None = None


class LayerReport(msgspec.Struct, frozen=True):
    """``layers`` by descending error of the logits; ``mixtures``: float32, int8, then the requested ones."""

    model: str
    dataset: DatasetInfo
    split: str
    probe: int
    reference: ShareResult
    layers: tuple[LayerError, ...]
    mixtures: tuple[Mixture, ...]


def analyse(experiment: Experiment, counts: Sequence[int], named: Sequence[str], split: str) -> LayerReport:
    """Measure all layers, and exports in mixed precision.

    Args:
        experiment: Model and images.
        counts: For each number, measure an export with so many of the worst layers in float.
        named: Measure an export with these layers in float.
        split: Name of the split, for the report.

    Raises:
        InputError: If a named layer does not exist.
        ModelError: If an export fails.
    """
    calibration = calibration_images(experiment.dataset)
    probe = replace(
        experiment,
        images=experiment.images[:PROBE],
        truth=experiment.truth[:PROBE],
        reference=experiment.reference[:PROBE],
    )
    quantizer = SelectiveQuantizer(experiment.source.keras, calibration, probe.images)
    unknown = [name for name in named if name not in quantizer.layers]
    if unknown:
        raise InputError(f"no quantized layer {', '.join(unknown)}; there are {', '.join(quantizer.layers)}")
    found = progress(_layer_errors(quantizer, probe), "layers", len(quantizer.layers))
    errors = sorted(found, key=lambda error: -error.alone)
    worst = [error.layer for error in errors]
    wanted: dict[str, list[str]] = {"int8": []}
    for count in counts:
        kept = worst[:count]
        wanted[f"worst {len(kept)} in float"] = kept
    if named:
        wanted["named in float"] = list(named)
    float32 = export(experiment.source.keras, VARIANTS["float32"], calibration)
    return LayerReport(
        model=experiment.source.name,
        dataset=experiment.describe_data(),
        split=split,
        probe=len(probe.images),
        reference=experiment.accuracy(experiment.reference),
        layers=tuple(errors),
        mixtures=_mixtures(experiment, quantizer, wanted, float32),
    )


def _mixtures(
    experiment: Experiment, quantizer: SelectiveQuantizer, wanted: dict[str, list[str]], float32: bytes
) -> tuple[Mixture, ...]:
    """Return float32, with the Keras model's accuracy, then each of ``wanted``: names and their float layers."""
    contents = {"float32": float32}
    found = [Mixture("float32", quantizer.layers, len(float32), experiment.accuracy(experiment.reference), 1.0, 0.0)]
    for name, layers in wanted.items():
        kept = tuple(layer for layer in quantizer.layers if layer in layers)
        contents[name] = quantizer.export(kept)
        logits = experiment.logits(contents[name])
        accuracy, agreement = experiment.accuracy(logits), experiment.agreement(logits)
        found.append(Mixture(name, kept, len(contents[name]), accuracy, agreement, _logit_rmse(experiment, logits)))
    if len(wanted) == 1:
        return tuple(found)
    ratios = time_ratios(contents)
    return tuple(msgspec.structs.replace(mixture, time_ratio=ratios[mixture.name]) for mixture in found)


def _layer_errors(quantizer: SelectiveQuantizer, probe: Experiment) -> Iterator[LayerError]:
    for number, layer in enumerate(quantizer.layers, start=1):
        operators = [operator for operator in quantizer.operators if operator.layer == layer]
        # If a layer became several operators, the output of the last one is the layer's.
        own = quantizer.statistics[operators[-1].tensor]
        others = [other for other in quantizer.layers if other != layer]
        yield LayerError(
            number=number,
            layer=layer,
            operators=tuple(operator.kind for operator in operators),
            scale=own["scale"],
            rmse_steps=own["mean_squared_error"] ** 0.5 / own["scale"],
            mean_steps=own["mean_error"] / own["scale"],
            max_steps=own["max_abs_error"] / own["scale"],
            alone=_logit_rmse(probe, probe.logits(quantizer.export(others, float_logits=True), float_logits=True)),
            kept_float=_logit_rmse(probe, probe.logits(quantizer.export([layer]))),
        )


def _logit_rmse(experiment: Experiment, logits: Float32Array) -> float:
    error = logits[:PROBE].astype(np.float64) - experiment.reference[:PROBE]
    return float(np.sqrt(np.mean(error**2)))


def time_ratios(contents: dict[str, bytes]) -> dict[str, float]:
    """Return the time of each ``.tflite`` file relative to "int8": the median over interleaved rounds."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{number}.tflite" for number, name in enumerate(contents)}
        for name, path in files.items():
            path.write_bytes(contents[name])
        medians = {name: np.median(times, axis=1) for name, times in time_files(files, _TURNS).items()}
    return {name: float(np.median(times / medians["int8"])) for name, times in medians.items()}
