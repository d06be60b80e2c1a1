"""Make a bundle of a ``.tflite`` file without converting it.

Input size and quantization are read from the file; the user gives the labels and, if needed, the input range. As in
``fer_convert.convert``, all files are written to a temporary folder next to the target.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fer_bench.accuracy import run_on_split
from fer_bench.metrics import fit_temperature
from fer_bench.runners import open_runner
from fer_convert.atomic_bundle import atomic_bundle
from fer_convert.checks import warn_near_chance
from fer_convert.foreign.input_range import InputRange
from fer_convert.foreign.tflite_file import arithmetic, without_softmax
from fer_convert.model_card import CARD, model_card
from fer_edge.errors import InputError, ModelError, reason_of
from fer_edge.model.bundle import file_sha256, load_bundle
from fer_edge.model.graph_file import check_graph_file
from fer_edge.model.interpreter import LiteRtModel, TensorDetails
from fer_edge.model.manifest import FORMAT, VariantIO, write_manifest
from fer_edge.model.quantization import Quantization
from fer_edge.model.trial import try_file
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.system.files import write_bytes_atomically, write_text_atomically
from fer_train.data.dataset import PUBLIC_TEST, Dataset

log = logging.getLogger(__name__)

_MIN_SIDE, _MAX_SIDE = 8, 512
_MAX_BYTES = 512 << 20
"""Larger than any model for a Raspberry Pi. The whole file is read."""
_USUAL_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
_NEAR = 0.02
"""As a share of a usual range: a calibration without a black and a white image differs by less."""
_SUMMARIES = {
    "int8": "8-bit integers, wrapped as it was",
    "int16x8": "16-bit activations and 8-bit weights, wrapped as it was",
    "dynamic": "8-bit weights, activations quantized by each image's range, wrapped as it was",
    "float32": "float32, wrapped as it was",
}


@dataclass(frozen=True, slots=True)
class WrapOptions:
    """Information that the file lacks: ``labels`` in the order of its outputs, and the scaling of its pixels."""

    labels: tuple[str, ...]
    input_range: InputRange | None = None
    name: str | None = None
    version: str = "1.0.0"
    license: str = "unknown"


def wrap_tflite(path: Path, out: Path, options: WrapOptions, dataset: Dataset | None, *, force: bool = False) -> str:
    """Make the bundle ``out`` of the file at ``path`` and return its variant's name.

    With ``dataset``, the accuracy on its validation split is measured and the temperature fitted.

    Raises:
        InputError: If the user must give an option, or an option does not match the file.
        ModelError: If the file cannot be used; nothing is written.
    """
    content, variant, softmax = _read(path)
    with atomic_bundle(out, force) as folder:
        file = folder / f"{variant}.tflite"
        write_bytes_atomically(file, content)
        io, size, notes = _examine(path, file, options)
        end = (
            f"its {softmax} is removed: the runtime applies one, with a temperature"
            if softmax
            else "its outputs are assumed to be logits: it does not end in a softmax"
        )
        labels = f"its {len(options.labels)} outputs are {', '.join(options.labels)} (--labels)"
        notes = [f"a .tflite file ({variant})", *notes, labels, end]
        for line in notes:
            log.info("%s: %s", path.name, line)
        entry: dict[str, Any] = {
            "summary": _SUMMARIES[variant],
            "file": file.name,
            "sha256": file_sha256(file),
            "bytes": file.stat().st_size,
            "io": msgspec.structs.asdict(io),
            "accuracy": {},
        }
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "name": options.name or path.stem,
            "version": options.version,
            "license": options.license,
            "labels": list(options.labels),
            "input": {"height": size[0], "width": size[1], "channels": 1},
            "output": "logits",
            "temperature": 1.0,
            "variants": {variant: entry},
            "training": {"brought": {"from": path.name, "told": notes}},
        }
        write_manifest(folder, manifest)
        _check_answers(path, folder, variant, size)
        if dataset is not None:
            _measure(folder, variant, manifest, dataset)
            write_manifest(folder, manifest)
        write_text_atomically(folder / CARD, model_card(manifest))
    return variant


def _read(path: Path) -> tuple[bytes, str, str | None]:
    """Return the file's content without its softmax, its variant's name, and the softmax's name."""
    check_graph_file(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path}: larger than {_MAX_BYTES >> 20} MiB, which is too large for a Raspberry Pi")
        content = path.read_bytes()
        changed, softmax = without_softmax(content)
        return changed, arithmetic(content), softmax
    except ModelError as error:
        raise ModelError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    except (struct.error, ValueError, IndexError) as error:
        raise ModelError(f"{path}: not a usable .tflite model (damaged or truncated?): {reason_of(error)}") from None


def _examine(path: Path, file: Path, options: WrapOptions) -> tuple[VariantIO, tuple[int, int], list[str]]:
    """Return the tensors' codecs, the input's height and width, and what to report about both."""
    try:
        try_file(file, file_sha256(file))
        model = LiteRtModel(file)
    except ModelError as error:  # it names the copy
        raise ModelError(str(error).replace(str(file), str(path))) from None
    try:
        given, result = model.input_details, model.output_details
    finally:
        model.close()
    size = _size(path, given)
    _check_output(path, result, len(options.labels))
    low, high, range_note = _input_range(path, given, options.input_range)
    io = VariantIO(
        *(given.dtype, given.scale, given.zero_point),  # type: ignore[arg-type]
        *(result.dtype, result.scale, result.zero_point),  # type: ignore[arg-type]
        (low, high),
    )
    return io, size, [f"{size[0]}x{size[1]} grey pixels, input {_codec(given)}, output {_codec(result)}", range_note]


def _codec(details: TensorDetails) -> str:
    if details.dtype == "float32":
        return details.dtype
    return f"{details.dtype} (scale {details.scale:.6g}, zero point {details.zero_point})"


def _size(path: Path, given: TensorDetails) -> tuple[int, int]:
    shape = given.shape
    if len(shape) == 4 and shape[3] == 3:
        raise ModelError(
            f"{path}: takes three channels, {list(shape)}, and the device has one, grey: convert the model that this "
            "file was made of with `fer-edge convert`, which gives each channel the grey crop"
        )
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] != 1:
        raise ModelError(f"{path}: takes {list(shape)}, channels first; export it with channels last")
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 1:
        raise ModelError(f"{path}: takes {list(shape)}; wanted one grey image, [1, height, width, 1]")
    if not _MIN_SIDE <= min(shape[1:3]) <= max(shape[1:3]) <= _MAX_SIDE:
        raise ModelError(
            f"{path}: takes {shape[1]}x{shape[2]} pixels; wanted {_MIN_SIDE} to {_MAX_SIDE} on each side. If its size "
            "is not fixed, export it again with a fixed one"
        )
    _check_dtype(path, "takes", given)
    return shape[1], shape[2]


def _check_output(path: Path, result: TensorDetails, labels: int) -> None:
    if len(result.shape) != 2 or result.shape[0] != 1:
        raise ModelError(f"{path}: gives {list(result.shape)}; wanted one row of logits, [1, labels]")
    if result.shape[1] != labels:
        raise InputError(f"{path}: has {result.shape[1]} outputs, and --labels has {labels} names")
    _check_dtype(path, "gives", result)


def _check_dtype(path: Path, verb: str, details: TensorDetails) -> None:
    if details.dtype not in ("float32", "uint8", "int8", "int16"):
        raise ModelError(f"{path}: {verb} {details.dtype}; wanted float32, uint8, int8 or int16: export it again")


def _input_range(path: Path, given: TensorDetails, wanted: InputRange | None) -> tuple[float, float, str]:
    """Return the input values for black and white, and where they are from."""
    ends = _representable(given)
    if wanted is not None:
        try:
            (scale,), (low,) = wanted.for_channels(1)
        except ValueError as error:
            raise InputError(f"--input-range: {error}") from None
        high = low + 255 * scale
        if ends is not None and (min(high, ends[1]) - max(low, ends[0])) < (1 - _NEAR) * (high - low):
            raise InputError(
                f"{path}: its input holds numbers from {ends[0]:.4g} to {ends[1]:.4g}, so --input-range "
                f"{wanted.text} would be clipped; give the range that it was quantized for"
            )
        return low, high, f"pixels are scaled to {wanted.text} by the runtime (--input-range)"
    for low, high in _USUAL_RANGES if ends is not None else ():
        if max(abs(ends[0] - low), abs(ends[1] - high)) <= _NEAR * (high - low):  # type: ignore[index]
            return low, high, f"its input's scale and zero point are those of pixels scaled to {low:g}..{high:g}"
    known = "" if ends is None else f" (its input holds numbers from {ends[0]:.4g} to {ends[1]:.4g})"
    raise InputError(
        f"{path}: does not define the scaling of pixels{known}: give --input-range, the input values for black and "
        f"white in its training: {', '.join(f'{low:g}..{high:g}' for low, high in _USUAL_RANGES)} or others"
    )


def _representable(given: TensorDetails) -> tuple[float, float] | None:
    """Return the lowest and the highest number that a quantized input can hold; None for floats."""
    if given.dtype == "float32":
        return None
    info = np.iinfo(given.dtype)
    codec = Quantization(given.dtype, given.scale, given.zero_point)
    low, high = codec.dequantize(np.array([info.min, info.max]))
    return float(low), float(high)


def _check_answers(path: Path, folder: Path, variant: str, size: tuple[int, int]) -> None:
    """Refuse a file whose outputs cannot be logits, by its outputs for noise of several brightnesses."""
    random = np.random.default_rng(0)
    pixels = random.normal(np.linspace(40, 215, 8).reshape(-1, 1, 1), 40, (8, *size)).clip(0, 255).astype(np.uint8)
    with load_bundle(folder) as bundle, EmotionClassifier(bundle, variant) as classifier:
        answers = np.stack([classifier.logits(image) for image in pixels])
    if not np.isfinite(answers).all():
        raise ModelError(f"{path}: returns NaN or infinity; convert it again")
    if (answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=0.05):
        raise ModelError(
            f"{path}: returns probabilities, but does not end in a softmax that can be removed; export it with logits"
        )
    if (answers == answers[0]).all():
        raise ModelError(f"{path}: returns the same values for all images: it is damaged, or --input-range is wrong")


def _measure(folder: Path, variant: str, manifest: dict[str, Any], dataset: Dataset) -> None:
    """Add accuracy and temperature to ``manifest``."""
    labels = manifest["labels"]
    if set(labels) != set(dataset.labels):
        raise InputError(f"--labels {','.join(labels)}: the data set's are {', '.join(dataset.labels)}")
    split = dataset.splits[PUBLIC_TEST]
    if not len(split):
        raise InputError(f"{dataset.name}: has no {dataset.shown(PUBLIC_TEST)} images to measure the model on")
    with open_runner(folder, variant) as runner:
        logits = run_on_split(runner, dataset, PUBLIC_TEST)
    accuracy = float((logits.argmax(axis=1) == split.labels).mean())
    manifest["variants"][variant]["accuracy"][f"{dataset.name}_{dataset.key(PUBLIC_TEST)}"] = round(accuracy, 6)
    manifest["temperature"] = round(fit_temperature(logits, split.labels), 4)
    log.info("%s: %.2f %% on %s", variant, 100 * accuracy, dataset.shown(PUBLIC_TEST))
    warn_near_chance(manifest["name"], accuracy, split.labels, len(labels))
