"""The classifier follows the manifest, and refuses a file that contradicts it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.errors import ModelError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.quantization import softmax
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.types import Box, Face, FaceCrop, UInt8Array
from support.models.bundles import random_faces


def _crop(pixels: UInt8Array) -> FaceCrop:
    return FaceCrop(Face(Box(0, 0, 48, 48), 1.0), pixels, 1.0)


@pytest.mark.parametrize("variant", ["int8", "float32"])
def test_probabilities_are_the_calibrated_softmax_of_the_logits(tiny_bundle: Path, variant: str) -> None:
    bundle = load_bundle(tiny_bundle)
    with EmotionClassifier(bundle, variant) as classifier:
        assert classifier.labels == bundle.manifest.labels
        assert (classifier.crop_spec.height, classifier.crop_spec.width) == (48, 48)
        for pixels in random_faces(5):
            values = classifier.classify(_crop(pixels)).values
            assert values.dtype == np.float32 and values.shape == (7,)
            assert values.sum() == pytest.approx(1.0, abs=1e-5)
            np.testing.assert_allclose(values, softmax(classifier.logits(pixels), 1.5))


def test_int8_follows_float32(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    quantized, reference = EmotionClassifier(bundle, "int8"), EmotionClassifier(bundle, "float32")
    images = random_faces(40, seed=5)
    differences = np.array([quantized.logits(image) - reference.logits(image) for image in images])
    spread = np.array([reference.logits(image) for image in images]).std()
    # Rounding is a few percent of the spread; a wrong scale or zero point would give much larger differences.
    assert np.abs(differences).mean() < 0.1 * spread


def _with_manifest(bundle: Path, target: Path, change: Any) -> Path:
    shutil.copytree(bundle, target)
    table = json.loads((target / "manifest.json").read_text())
    change(table)
    (target / "manifest.json").write_text(json.dumps(table))
    return target


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_dtype", "int8"),
        ("input_scale", 0.898),
        ("input_zero_point", 3),
        ("output_dtype", "uint8"),
        ("output_scale", 0.5),
        ("output_zero_point", -128),
    ],
)
def test_a_manifest_that_contradicts_the_file_is_refused(
    tiny_bundle: Path, tmp_path: Path, key: str, value: object
) -> None:
    def change(table: Any) -> None:
        table["variants"]["int8"]["io"][key] = value

    folder = _with_manifest(tiny_bundle, tmp_path / "bundle", change)
    with pytest.raises(ModelError, match="the manifest says"):
        EmotionClassifier(load_bundle(folder), "int8")


@pytest.mark.parametrize("field", ["size", "labels"])
def test_shapes_that_contradict_the_manifest_are_refused(tiny_bundle: Path, tmp_path: Path, field: str) -> None:
    def change(table: Any) -> None:
        if field == "size":
            table["input"]["height"] = 64
        else:
            table["labels"].append("contempt")

    folder = _with_manifest(tiny_bundle, tmp_path / "bundle", change)
    with pytest.raises(ModelError, match="shape is"):
        EmotionClassifier(load_bundle(folder), "int8")


def test_an_unknown_variant_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(ModelError, match="int4"):
        EmotionClassifier(load_bundle(tiny_bundle), "int4")
