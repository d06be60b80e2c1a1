"""Where int8 loses: each layer's own error, what it does to the logits, and what layers left in float buy."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fer_bench.extras import progress
from fer_bench.latency.measure import time_files
from fer_bench.results import DatasetInfo, LatencySettings, ShareResult
from fer_convert.analysis.experiment import Trial
from fer_convert.analysis.mixed_precision import SelectiveQuantizer
from fer_convert.export.tflite import export
from fer_convert.export.variants import VARIANTS
from fer_convert.quantization.calibration import calibration_images
from fer_edge.errors import InputError
from fer_edge.types import Float32Array

PROBE = 200
"""PublicTest images that the errors are measured on: they come out alike on any such number."""
IDEAL = 12**-0.5
"""Root mean square of an error that is uniform over one step: rounding, and nothing else."""
_TURNS = LatencySettings(rounds=20, runs=50)


@dataclass(frozen=True, slots=True)
class LayerError:
    """A quantized layer, the ``number``-th to run. The first three errors are of its own output, in steps of its scale.

    The quantized layer less the same in float on the same int8 input, over the probe images: ``rmse_steps`` root mean
    square, ``mean_steps`` mean, ``max_steps`` largest (mean over the images). ``alone`` is the root mean square error
    of the logits when this layer is the only one in int8, ``kept_float`` when it is the only one in float.
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


@dataclass(frozen=True, slots=True)
class Mixture:
    """An export whose layers ``kept`` are in float; ``logit_rmse`` is against Keras, over the probe images.

    ``time_ratio`` is its time over int8's; None where no mixture was asked for.
    """

    name: str
    kept: tuple[str, ...]
    bytes: int
    accuracy: ShareResult
    agreement: float
    logit_rmse: float
    time_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class LayerReport:
    """``layers`` with what hurts the logits most first; ``mixtures``: float32, int8, then what was asked for."""

    model: str
    dataset: DatasetInfo
    split: str
    probe: int
    reference: ShareResult
    layers: tuple[LayerError, ...]
    mixtures: tuple[Mixture, ...]


def analyse(trial: Trial, counts: Sequence[int], named: Sequence[str], split: str) -> LayerReport:
    """Measure every layer, and the mixtures of the ``counts`` worst and of the layers ``named`` in float.

    Raises InputError for a layer that is not there, ModelError when an export fails.
    """
    calibration = calibration_images(trial.dataset)
    probe = replace(trial, images=trial.images[:PROBE], truth=trial.truth[:PROBE], reference=trial.reference[:PROBE])
    quantizer = SelectiveQuantizer(trial.source.keras, calibration, probe.images)
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
    return LayerReport(
        model=trial.source.name,
        dataset=trial.describe_data(),
        split=split,
        probe=len(probe.images),
        reference=trial.accuracy(trial.reference),
        layers=tuple(errors),
        mixtures=_mixtures(trial, quantizer, wanted, export(trial.source.keras, VARIANTS["float32"], calibration)),
    )


def _mixtures(
    trial: Trial, quantizer: SelectiveQuantizer, wanted: dict[str, list[str]], float32: bytes
) -> tuple[Mixture, ...]:
    """float32, by the Keras model that it is held to, then each of ``wanted``: a name and its layers in float."""
    contents = {"float32": float32}
    found = [Mixture("float32", quantizer.layers, len(float32), trial.accuracy(trial.reference), 1.0, 0.0)]
    for name, layers in wanted.items():
        kept = tuple(layer for layer in quantizer.layers if layer in layers)
        contents[name] = quantizer.export(kept)
        logits = trial.logits(contents[name])
        accuracy, agreement = trial.accuracy(logits), trial.agreement(logits)
        found.append(Mixture(name, kept, len(contents[name]), accuracy, agreement, _logit_rmse(trial, logits)))
    if len(wanted) == 1:
        return tuple(found)
    ratios = time_ratios(contents)
    return tuple(replace(mixture, time_ratio=ratios[mixture.name]) for mixture in found)


def _layer_errors(quantizer: SelectiveQuantizer, probe: Trial) -> Iterator[LayerError]:
    for number, layer in enumerate(quantizer.layers, start=1):
        operators = [operator for operator in quantizer.operators if operator.layer == layer]
        # Where a layer became several operators, the last one's output is the layer's.
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


def _logit_rmse(trial: Trial, logits: Float32Array) -> float:
    error = logits[:PROBE].astype(np.float64) - trial.reference[:PROBE]
    return float(np.sqrt(np.mean(error**2)))


def time_ratios(contents: dict[str, bytes]) -> dict[str, float]:
    """Time of an invocation of each ``.tflite`` file, by name, over that of "int8": median of rounds of turns."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{number}.tflite" for number, name in enumerate(contents)}
        for name, path in files.items():
            path.write_bytes(contents[name])
        medians = {name: np.median(times, axis=1) for name, times in time_files(files, _TURNS).items()}
    return {name: float(np.median(times / medians["int8"])) for name, times in medians.items()}
