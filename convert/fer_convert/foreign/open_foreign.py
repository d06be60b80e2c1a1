"""Wrap a foreign model as a Keras model that takes grey pixels 0..255 and returns logits."""

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

_CHECK_IMAGES = 8
"""Number of images on which the wrapped model is compared with the original one."""
_MAX_SIDE = 512
_ROUNDING = {"float32": 1e-3, "float64": 1e-3, "float16": 2e-2, "bfloat16": 0.1}
"""Maximum difference of a model of this float type from its float32 copy, relative to its largest output (or 1)."""


@dataclass(frozen=True, slots=True)
class ForeignOptions:
    """The user's information about a foreign model; None for values to detect or assume.

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
class ForeignModel:
    """A foreign model as a Keras model that takes pixels 0..255 and returns logits.

    Attributes:
        keras: The model.
        labels: Labels in the order of the logits.
        params: Number of weights.
        macs: Multiply-accumulates per image.
        notes: Lines that say what was found and assumed.
    """

    keras: Any
    labels: tuple[str, ...]
    params: int
    macs: int
    notes: tuple[str, ...]


def open_foreign(path: Path, options: ForeignOptions) -> ForeignModel:
    """Load and wrap the model at ``path``.

    Raises:
        InputError: If an option is missing, or does not match the model.
        ModelError: If the model is not supported.
    """
    check_kind(path)
    loaded = load(path, options.size)
    shape, size_note = _shape(path, loaded, options.size)
    labels, labels_note = _labels(path, loaded.outputs, options.labels)
    graph = _frozen(path, loaded, shape)
    scaling, range_note = _range(path, graph, options.input_range)
    try:
        scale, offset = (np.array(values, np.float32) for values in scaling.for_channels(shape[2]))
    except ValueError as error:
        raise InputError(f"--input-range: {error}") from None
    end_note = (
        f"its {graph.softmax.lower()} is removed: the runtime applies one, with a temperature"
        if graph.softmax
        else "its outputs are assumed to be logits: it does not end in a softmax"
    )
    # A Keras model that already takes pixels 0..255 and returns logits is converted layer by layer.
    raw = shape[2] == 1 and scaling == RAW and not graph.softmax and graph.precision == "float32"
    unchanged = raw and loaded.keras is not None and options.size is None
    model = loaded.keras if unchanged else _wrapped(graph, len(labels), scale, offset)
    difference = _check_same(path, loaded, model, scale, offset, graph)
    notes = [f"{loaded.kind}, {size_note}", range_note, labels_note, end_note]
    if graph.precision != "float32":
        notes.append(f"it computes in {graph.precision}, and is converted in float32")
    if loaded.reference:
        notes.append(f"its outputs differ from {loaded.reference}'s by up to {difference:.1g}, on noise")
    return ForeignModel(model, labels, *graph.count(), tuple(notes))


def _frozen(path: Path, loaded: Loaded, shape: tuple[int, int, int]) -> FrozenGraph:
    try:
        function = loaded.trace(shape)
    except Exception as error:  # a foreign graph can raise any type
        raise ModelError(f"{path}: does not take {shape[0]}x{shape[1]} pixels: {_short(error)}") from error
    try:
        return freeze(function, shape)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except Exception as error:  # a foreign graph can raise any type
        raise ModelError(f"{path}: cannot be converted to a graph without variables: {_short(error)}") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _shape(path: Path, loaded: Loaded, wanted: tuple[int, int] | None) -> tuple[tuple[int, int, int], str]:
    own_height, own_width, channels = loaded.shape
    height, width = wanted or (own_height, own_width)
    if height is None or width is None:
        raise InputError(f"{path}: takes images of any size: choose one, such as --input-size 96")
    if own_height not in (None, height) or own_width not in (None, width):
        raise InputError(f"{path}: takes {own_height}x{own_width} pixels, not --input-size {height}x{width}")
    if not 8 <= min(height, width) <= max(height, width) <= _MAX_SIDE:
        raise InputError(f"{path}: {height}x{width} pixels; wanted 8 to {_MAX_SIDE} on each side")
    channels_note = "one channel" if channels == 1 else "three channels: each gets the grey crop"
    return (height, width, channels), f"{height}x{width} pixels of {channels_note}"


def _labels(path: Path, outputs: int, given: tuple[str, ...] | None) -> tuple[tuple[str, ...], str]:
    if given is not None:
        if len(given) != outputs:
            raise InputError(f"{path}: has {outputs} outputs, and --labels has {len(given)} names")
        return given, f"its {outputs} outputs are {', '.join(given)} (--labels)"
    if outputs != len(FER2013_LABELS):
        raise InputError(f"{path}: has {outputs} outputs: name their labels, in order, with --labels a,b,…")
    return (
        FER2013_LABELS,
        f"its {outputs} outputs are assumed to be {', '.join(FER2013_LABELS)} (else: --labels)",
    )


def _range(path: Path, graph: FrozenGraph, given: InputRange | None) -> tuple[InputRange, str]:
    if given is not None:
        low, high = given.offset[0], given.offset[0] + 255 * given.scale[0]
        if scaled_twice(graph, low, high):
            raise InputError(
                f"{path}: scales its pixels itself, so {given.text} would be scaled "
                "twice to almost a constant; give --input-range 0..255, or none"
            )
        return given, f"pixels are scaled to {given.text} inside the graph (--input-range)"
    own = own_scaling(graph)
    if own is None:
        raise InputError(
            f"{path}: does not define the scaling of its pixels: give --input-range, the input values for black and "
            "white in its training: 0..1 (divided by 255), -1..1, 0..255, caffe or torch"
        )
    return RAW, f"its input is pixels 0..255: it scales them itself, to {own[0]:.4g}..{own[1]:.4g}"


def _wrapped(graph: FrozenGraph, labels: int, scale: Float32Array, offset: Float32Array) -> Any:
    """Return a Keras model that scales grey pixels, copies them to the graph's channels, and runs the graph."""
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
    """Compare the wrapped model with the original one, run by its own framework, on noise of several brightnesses.

    Returns the largest difference. Raises ModelError if it is too large.
    """
    height, width, _ = graph.shape
    random = np.random.default_rng(0)
    levels = np.linspace(40, 215, _CHECK_IMAGES).reshape(-1, 1, 1, 1)
    pixels = np.clip(levels + random.normal(0, 40, (_CHECK_IMAGES, height, width, 1)), 0, 255).astype(np.float32)
    try:
        theirs = np.concatenate([loaded.call(image[np.newaxis]) for image in pixels * scale + offset])
        ours = np.asarray(model.predict_on_batch(pixels), np.float32)
    except Exception as error:  # a foreign graph can raise any type
        raise ModelError(f"{path}: does not run on an image: {_short(error)}") from error
    _check_answers(path, theirs, graph)
    if graph.softmax == "Softmax":
        ours = softmax(ours)
    elif graph.softmax:
        ours = np.log(softmax(ours))
    difference = float(np.abs(ours - theirs).max())
    if difference > _ROUNDING[graph.precision] * max(1.0, float(np.abs(theirs).max())):
        raise ModelError(
            f"{path}: cannot be converted: the outputs of its graph differ from its own by up to {difference:.3g}"
        )
    return difference


def _check_answers(path: Path, theirs: Float32Array, graph: FrozenGraph) -> None:
    """Raise ModelError if a model's outputs, [N, labels], cannot be logits."""
    if not np.isfinite(theirs).all():
        raise ModelError(f"{path}: returns NaN or infinity")
    if graph.softmax is not None or np.any((theirs < 0) | (theirs > 1)):
        return
    if np.allclose(theirs.sum(axis=1), 1, atol=1e-3):
        raise ModelError(
            f"{path}: returns probabilities, but does not end in a softmax operator that can be removed: "
            "save it with logits as its output"
        )
    raise ModelError(
        f"{path}: returns only values from 0 to 1, as a sigmoid does; wanted logits, or a softmax that can be removed"
    )
