"""A foreign model as one that keeps the contract: grey pixels 0..255 in, logits out; and what was assumed of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_convert.foreign.files import check_kind, load
from fer_convert.foreign.graph import FrozenGraph, freeze, own_scaling, scaled_twice
from fer_convert.foreign.input_range import RAW, InputRange
from fer_convert.foreign.saved_model import Loaded
from fer_edge.errors import InputError, ModelError
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.model.quantization import softmax
from fer_edge.types import Float32Array

_TRIED = 8
"""Pictures on which the model that is converted must answer as the one that was brought."""
_LARGEST_SIDE = 512
_ROUNDING = {"float32": 1e-3, "float64": 1e-3, "float16": 2e-2, "bfloat16": 0.1}
"""How far, as a share of its largest answer or of 1, a model that computes in these may be from itself in float32."""


@dataclass(frozen=True, slots=True)
class BroughtOptions:
    """What the user says of a model that was not trained here; None leaves it to be found out or assumed.

    ``size`` is (height, width) in pixels.
    """

    input_range: InputRange | None = None
    labels: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None

    @property
    def given(self) -> list[str]:
        """The flags that were used."""
        flags = {"--input-range": self.input_range, "--labels": self.labels, "--input-size": self.size}
        return [flag for flag, value in flags.items() if value is not None]


@dataclass(frozen=True, slots=True, eq=False)
class Brought:
    """A Keras model of the contract, its labels, weights and multiply-accumulates, and what was ``told`` of it."""

    keras: Any
    labels: tuple[str, ...]
    params: int
    macs: int
    told: tuple[str, ...]


def open_brought(path: Path, options: BroughtOptions) -> Brought:
    """Load ``path`` and wrap it. Raises InputError for what the user must say, ModelError for what is refused."""
    check_kind(path)
    loaded = load(path, options.size)
    shape, size_told = _shape(path, loaded, options.size)
    labels, labels_told = _labels(path, loaded.outputs, options.labels)
    graph = _frozen(path, loaded, shape)
    scaling, range_told = _range(path, graph, options.input_range)
    try:
        scale, offset = (np.array(values, np.float32) for values in scaling.for_channels(shape[2]))
    except ValueError as error:
        raise InputError(f"--input-range: {error}") from None
    end = (
        f"its {graph.softmax.lower()} is left out: the runtime has its own, with a temperature"
        if graph.softmax
        else "its numbers are taken for logits: no softmax stands at its end"
    )
    # What keeps the contract already is converted as the Keras model that it is, layer by layer.
    raw = shape[2] == 1 and scaling == RAW and not graph.softmax and graph.precision == "float32"
    as_it_is = raw and loaded.keras is not None and options.size is None
    model = loaded.keras if as_it_is else _wrapped(graph, len(labels), scale, offset)
    difference = _check_same(path, loaded, model, scale, offset, graph)
    told = [f"{loaded.kind}, {size_told}", range_told, labels_told, end]
    if graph.precision != "float32":
        told.append(f"it computes in {graph.precision}, and is converted in float32")
    if loaded.reference:
        told.append(f"its answers differ from {loaded.reference}'s by up to {difference:.1g}, on noise")
    return Brought(model, labels, *graph.count(), tuple(told))


def _frozen(path: Path, loaded: Loaded, shape: tuple[int, int, int]) -> FrozenGraph:
    try:
        function = loaded.trace(shape)
    except Exception as error:  # it is somebody else's graph
        raise ModelError(f"{path}: does not take {shape[0]}x{shape[1]} pixels: {_short(error)}") from error
    try:
        return freeze(function, shape)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except Exception as error:  # it is somebody else's graph
        raise ModelError(f"{path}: cannot be told without variables: {_short(error)}") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _shape(path: Path, loaded: Loaded, wanted: tuple[int, int] | None) -> tuple[tuple[int, int, int], str]:
    own_height, own_width, channels = loaded.shape
    height, width = wanted or (own_height, own_width)
    if height is None or width is None:
        raise InputError(f"{path}: takes images of any size: say which it is to have, with --input-size 96")
    if own_height not in (None, height) or own_width not in (None, width):
        raise InputError(f"{path}: takes {own_height}x{own_width} pixels, not --input-size {height}x{width}")
    if not 8 <= min(height, width) <= max(height, width) <= _LARGEST_SIDE:
        raise InputError(f"{path}: {height}x{width} pixels are no face crop: 8 to {_LARGEST_SIDE} on each side are")
    told = "one channel" if channels == 1 else "three channels: each gets the grey crop"
    return (height, width, channels), f"{height}x{width} pixels of {told}"


def _labels(path: Path, outputs: int, given: tuple[str, ...] | None) -> tuple[tuple[str, ...], str]:
    if given is not None:
        if len(given) != outputs:
            raise InputError(f"{path}: gives {outputs} numbers, and --labels names {len(given)}")
        return given, f"its {outputs} numbers stand for {', '.join(given)}, as --labels says"
    if outputs != len(FER2013_LABELS):
        raise InputError(f"{path}: gives {outputs} numbers: say what they stand for, in order, with --labels a,b,…")
    return (
        FER2013_LABELS,
        f"its {outputs} numbers are assumed to stand for {', '.join(FER2013_LABELS)} (else: --labels)",
    )


def _range(path: Path, graph: FrozenGraph, given: InputRange | None) -> tuple[InputRange, str]:
    if given is not None:
        low, high = given.offset[0], given.offset[0] + 255 * given.scale[0]
        if scaled_twice(graph, low, high):
            raise InputError(
                f"{path}: scales its pixels itself and would make next to nothing of {given.text}: they were scaled "
                "twice; give --input-range 0..255, or none"
            )
        return given, f"pixels are scaled to {given.text} inside the graph, as --input-range says"
    own = own_scaling(graph)
    if own is None:
        raise InputError(
            f"{path}: does not say what its pixels are scaled to: give --input-range, what its training made of black "
            "and white: 0..1 (divided by 255), -1..1, 0..255, caffe or torch"
        )
    return RAW, f"pixels go in as 0..255: it begins by scaling them itself, to {own[0]:.4g}..{own[1]:.4g}"


def _wrapped(graph: FrozenGraph, labels: int, scale: Float32Array, offset: Float32Array) -> Any:
    """Grey pixels, made of as many channels and of the range that the graph takes, then the graph."""
    import keras

    from fer_convert.foreign.graph_layer import GraphLayer

    height, width, channels = graph.shape
    pixels = keras.Input((height, width, 1), name="pixels")
    x = pixels
    if channels == 1 and not offset.any():
        # No offset: the converter folds the factor into the first convolution.
        x = keras.layers.Rescaling(float(scale[0]), name="scale")(x) if scale[0] != 1 else x
    else:
        # One operator for channels, factor and offset. Each kernel is one number, which int8 holds exactly.
        entrance = keras.layers.Conv2D(channels, 1, name="entrance")
        x = entrance(x)
        entrance.set_weights([scale.reshape(1, 1, 1, channels), offset])
    return keras.Model(pixels, GraphLayer(graph, labels)(x), name="brought")


def _check_same(
    path: Path, loaded: Loaded, model: Any, scale: Float32Array, offset: Float32Array, graph: FrozenGraph
) -> float:
    """The wrapped model must answer as the one that was brought: by other code, on noise of several brightnesses.

    Returns the largest difference.
    """
    height, width, _ = graph.shape
    random = np.random.default_rng(0)
    levels = np.linspace(40, 215, _TRIED).reshape(-1, 1, 1, 1)
    pixels = np.clip(levels + random.normal(0, 40, (_TRIED, height, width, 1)), 0, 255).astype(np.float32)
    try:
        theirs = np.concatenate([loaded.call(picture[np.newaxis]) for picture in pixels * scale + offset])
        ours = np.asarray(model.predict_on_batch(pixels), np.float32)
    except Exception as error:  # it is somebody else's graph
        raise ModelError(f"{path}: does not run on an image: {_short(error)}") from error
    _check_answers(path, theirs, graph)
    if graph.softmax == "Softmax":
        ours = softmax(ours)
    elif graph.softmax:
        ours = np.log(softmax(ours))
    difference = float(np.abs(ours - theirs).max())
    if difference > _ROUNDING[graph.precision] * max(1.0, float(np.abs(theirs).max())):
        raise ModelError(
            f"{path}: as a graph it answers other than before, by up to {difference:.3g}: cannot be converted"
        )
    return difference


def _check_answers(path: Path, theirs: Float32Array, graph: FrozenGraph) -> None:
    """Refuse what a model gives, [N, labels], where it shows to be no logits."""
    if not np.isfinite(theirs).all():
        raise ModelError(f"{path}: answers with NaN or infinity")
    if graph.softmax is not None or np.any((theirs < 0) | (theirs > 1)):
        return
    if np.allclose(theirs.sum(axis=1), 1, atol=1e-3):
        raise ModelError(
            f"{path}: gives probabilities, and no softmax operator stands at its end that could be left out: "
            "save it so that it gives logits"
        )
    raise ModelError(
        f"{path}: gives numbers of 0 to 1 alone, as a sigmoid does; wanted logits, or a softmax that can be left out"
    )
