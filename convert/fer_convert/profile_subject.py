"""Find the ``.tflite`` file to profile: of a bundle, a Keras file, or the file itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fer_bench.profile.measure import Subject
from fer_bench.results.profile import KerasLayer
from fer_convert.export.tflite import export
from fer_convert.export.variants import VARIANTS
from fer_edge.errors import InputError, ModelError
from fer_edge.model.bundle import file_sha256, load_bundle
from fer_edge.model.graph_file import check_graph_file
from fer_edge.model.manifest import MANIFEST_NAME
from fer_edge.model.trial import try_file, try_variant
from fer_train.networks.layers import count_layer_macs, every_layer
from fer_train.networks.model_files import load_model
from fer_train.training.run_folder.files import MODEL

_TFLITE = ".tflite"


def is_bundle(path: Path) -> bool:
    """Return whether ``path`` is a bundle, so that it has variants."""
    return (path / MANIFEST_NAME).is_file() or path.suffix == ".zip"


@contextmanager
def open_subject(path: Path, variant: str | None) -> Iterator[Subject]:
    """Yield the model at ``path``: a bundle's ``variant`` (default: int8), or a run, a ``.keras`` or ``.tflite`` file.

    Raises InputError or ModelError.
    """
    if not path.exists():
        raise InputError(f"{path}: no such model; give a bundle, a .keras or .tflite file, or the folder of a run")
    if is_bundle(path):
        with load_bundle(path) as bundle:
            found = bundle.variant(variant or "int8")
            if found.suffix != _TFLITE:
                raise ModelError(f"{path}: the variant {found.name} is not a {_TFLITE} file; only those are profiled")
            try_variant(found)
            yield Subject(bundle.manifest.name, found.name, found.path)
        return
    if path.suffix == _TFLITE:
        if path.is_file():
            check_graph_file(path)
            try_file(path, file_sha256(path))
        yield Subject(path.stem, "tflite", path)
        return
    file = path / MODEL if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise InputError(f"{path}: neither a bundle ({MANIFEST_NAME}) nor a finished run ({MODEL})")
    if file.suffix != ".keras":
        raise ModelError(
            f"{path}: only bundles, .keras and .tflite files are profiled; `fer-edge convert` makes a bundle"
        )
    keras = load_model(file)
    shape = keras.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise ModelError(f"{path}: takes {shape}; wanted one image of fixed size")
    with TemporaryDirectory() as folder:
        exported = Path(folder, f"float32{_TFLITE}")
        exported.write_bytes(export(keras, VARIANTS["float32"], np.zeros((0, *shape[1:3]), np.uint8)))
        name = path.name if path.is_dir() else path.stem
        yield Subject(name, "float32", exported, tuple(_keras_layer(layer) for layer in every_layer(keras)))


def _keras_layer(layer: Any) -> KerasLayer:
    weights = layer.weights
    output: Any = getattr(layer, "output", None)
    shape = tuple(output.shape) if hasattr(output, "shape") else ()
    return KerasLayer(
        layer=layer.name,
        kind=type(layer).__name__,
        shape=shape,
        parameters=sum(math.prod(each.shape) for each in weights),
        macs=count_layer_macs(layer),
        weight_bytes=sum(math.prod(each.shape) * np.dtype(each.dtype).itemsize for each in weights),
    )
