"""Recorded logits of a release, and the comparison with those of this device: the self-check.

``python -m fer_edge.update.golden FOLDER VARIANT INTERPRETER`` compares in a separate process, since a model may crash
the interpreter.
"""

from __future__ import annotations

import base64
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from fer_edge.errors import FerEdgeError, ModelError, reason_of
from fer_edge.images.files import decode_gray
from fer_edge.images.resample import cut_out
from fer_edge.model.bundle import ModelBundle, load_bundle
from fer_edge.model.manifest import decode_format
from fer_edge.model.trial import MAX_TRIAL_S, limit_this_process, run_apart, try_variant
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.system.files import read_regular
from fer_edge.types import Box, Float32Array, UInt8Array
from fer_edge.update.format import FORMAT, GOLDEN_NAME

_MAX_GOLDEN_BYTES = 4 << 20
_FLOAT_STEP = 0.01
"""Tolerance for logits of a float variant: processors sum in different orders."""
_FACE = Box(177, 66, 95, 95)
"""The face in assets/astronaut.jpg."""
_REFUSED = 1


class Golden(msgspec.Struct, frozen=True):
    """Crops, and the logits of each variant for them: [crops][labels]."""

    format: Literal[1]
    crops: Annotated[list[str], Meta(min_length=1, description="Grey pixels of each crop, base64.")]
    logits: dict[str, list[list[float]]]


def record(bundle: ModelBundle) -> bytes:
    """Return the content of ``golden.json`` for the ``.tflite`` variants of ``bundle``. Raises ModelError."""
    size = bundle.manifest.input
    crops = _make_crops(size.height, size.width)
    names = [name for name, entry in bundle.manifest.variants.items() if entry.suffix == ".tflite"]
    logits = {name: [row.tolist() for row in _logits(bundle, name, crops)] for name in names}
    encoded = [base64.b64encode(crop.tobytes()).decode() for crop in crops]
    return msgspec.json.encode(Golden(FORMAT, encoded, logits))


def check(folder: Path, variant: str, interpreter: str) -> None:
    """Compare the logits of ``variant`` of the bundle in ``folder`` with the recorded ones, in another process.

    Raises:
        ModelError: If the model is refused, crashes, hangs, or a logit differs by more than one step of the output.
    """
    with load_bundle(folder) as bundle:
        try_variant(bundle.variant(variant), interpreter)
    words = (str(folder), variant, interpreter)
    code, printed = run_apart(__name__, words, folder, "the self-check", MAX_TRIAL_S)
    if code == _REFUSED and printed:
        raise ModelError(printed)
    if code != 0:
        raise ModelError(f"{folder}: refused: the self-check ended with exit code {code}")


def compare(folder: Path, variant: str, interpreter: str) -> None:
    """Compare in this process, as ``check``. Raises ModelError."""
    path = folder / GOLDEN_NAME
    try:
        golden = decode_format(read_regular(path, _MAX_GOLDEN_BYTES), str(path), Golden)
    except OSError as error:
        raise ModelError(f"{path}: cannot read it: {reason_of(error)}") from None
    if variant not in golden.logits:
        raise ModelError(f"{path}: has no logits of {variant}; it has {', '.join(golden.logits)}")
    with load_bundle(folder) as bundle:
        size = bundle.manifest.input
        try:
            crops = [
                np.frombuffer(base64.b64decode(crop, validate=True), np.uint8).reshape(size.height, size.width)
                for crop in golden.crops
            ]
            wanted = np.array(golden.logits[variant], np.float32).reshape(len(crops), len(bundle.manifest.labels))
        except ValueError as error:
            raise ModelError(f"{path}: its crops or logits do not fit the model: {error}") from None
        output = bundle.variant(variant).io.output
        step = _FLOAT_STEP if output.dtype == "float32" else output.scale
        found = _logits(bundle, variant, crops, interpreter)
    worst = float(np.abs(found - wanted).max())
    # Both are multiples of the step in float32, so their difference is one only within rounding.
    if not worst <= 1.01 * step:
        raise ModelError(
            f"{folder}: refused: a logit differs by {worst:.3g} from the recorded one, at most {step:.3g} is allowed"
        )


def _logits(bundle: ModelBundle, variant: str, crops: list[UInt8Array], interpreter: str = "auto") -> Float32Array:
    with EmotionClassifier(bundle, variant, interpreter=interpreter) as classifier:
        return np.stack([classifier.logits(crop) for crop in crops])


def _make_crops(height: int, width: int) -> list[UInt8Array]:
    """Return a face in different light, mirrored, and an even gradient, uint8 [height, width] each."""
    portrait = decode_gray((files("fer_edge") / "assets" / "astronaut.jpg").read_bytes(), "astronaut.jpg")
    face = cut_out(portrait, _FACE, height, width)
    dark = (face // 3).astype(np.uint8)
    gradient = np.linspace(0, 255, height * width).astype(np.uint8).reshape(height, width)
    return [face, dark, 255 - dark, np.ascontiguousarray(face[:, ::-1]), gradient]


if __name__ == "__main__":
    limit_this_process(MAX_TRIAL_S)
    try:
        compare(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
    except FerEdgeError as problem:
        os.write(1, str(problem)[:1000].encode(errors="backslashreplace"))
        os._exit(_REFUSED)
    os._exit(0)
