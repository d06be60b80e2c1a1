"""Compute the logits of any model: a bundle's variant, or a Keras file.

All measurements of accuracy use ``ModelRunner``, so that all variants get the same pixels.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from fer_bench.extras import progress
from fer_bench.onnx_model import SUFFIX as ONNX
from fer_bench.onnx_model import load_model
from fer_bench.results import REFERENCE
from fer_edge.errors import InputError, MissingExtraError, ModelError
from fer_edge.images.resample import resample
from fer_edge.model.bundle import ModelBundle, load_bundle
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.system.closing import Closing
from fer_edge.types import Float32Array, UInt8Array

DEFAULT_VARIANT = "int8"
_KERAS_BATCH = 256


class ModelRunner(Protocol):
    """A model that computes logits of images; a context manager whose ``close`` is idempotent.

    ``labels`` is None if the file does not contain them; ``temperature`` is then 1.0, too, unless it is known.
    """

    name: str
    labels: tuple[str, ...] | None
    temperature: float

    def logits(self, images: UInt8Array) -> Float32Array:
        """Return logits float32 [N, labels] of gray images uint8 [N, H, W], which are resampled to the model's size.

        Raises ModelError if the result is not finite logits.
        """
        ...

    def close(self) -> None:
        """Release the model."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BundleRunner(Closing):
    """A bundle's variant, run by the device's classifier, or by ONNX Runtime for ``.onnx`` files.

    ``owns_bundle``: ``close`` also closes the bundle.
    """

    def __init__(self, bundle: ModelBundle, variant: str, *, owns_bundle: bool = False) -> None:
        manifest = bundle.manifest
        self.name = f"{manifest.name} {variant}"
        self.labels: tuple[str, ...] | None = manifest.labels
        self.temperature = manifest.temperature
        self._where = str(bundle.variant(variant).path)
        self._bundle = bundle if owns_bundle else None
        self._classifier = EmotionClassifier(bundle, variant, load=load_model)

    def logits(self, images: UInt8Array) -> Float32Array:
        """See ``ModelRunner.logits``."""
        spec = self._classifier.crop_spec
        rows = [
            self._classifier.logits(image)
            for image in progress(fitted(images, (spec.height, spec.width)), self.name, len(images))
        ]
        return checked(np.stack(rows), self._where)

    def close(self) -> None:
        """See ``ModelRunner.close``."""
        self._classifier.close()
        if self._bundle is not None:
            self._bundle.close()


class KerasRunner(Closing):
    """A Keras model: raw pixels 0..255 in, logits out. KERAS_BACKEND selects the backend.

    It is the ``.keras`` file at ``path``, or ``model``, which was loaded from there. ``labels`` are those of the file's
    training run; None without one.
    """

    def __init__(self, path: Path, model: Any = None) -> None:
        self.name = path.name
        self.temperature = 1.0
        self._path = path
        # Imported here: a Pi measures latency without the training package.
        from fer_train.networks.model_files import check_contract, load_model
        from fer_train.training.run_folder.files import labels_of_run

        self.labels: tuple[str, ...] | None = labels_of_run(path) if model is None else None
        self._model = load_model(path) if model is None else model
        self._size = check_contract(path, self._model, self.labels)

    def logits(self, images: UInt8Array) -> Float32Array:
        """See ``ModelRunner.logits``."""
        pixels = fitted(images, self._size)
        rows = [
            np.asarray(self._model.predict_on_batch(pixels[i : i + _KERAS_BATCH, :, :, None].astype(np.float32)))
            for i in progress(range(0, len(pixels), _KERAS_BATCH), self.name)
        ]
        logits = checked(np.concatenate(rows), str(self._path))
        if np.all(logits >= 0) and np.allclose(logits.sum(axis=1), 1.0, atol=1e-3):
            raise ModelError(f"{self._path}: it ends in a softmax; save it without, so that it returns logits")
        return logits


def open_runner(path: Path, variant: str | None = None) -> ModelRunner:
    """Return a runner for the bundle (folder or zip) or ``.keras`` file at ``path``.

    ``variant`` selects one of a bundle; the default is int8, or the first without int8. Raises InputError if ``path``
    does not exist or a Keras file gets a variant, ModelError for a bad file.
    """
    if path.suffix == ".keras" and not path.is_dir():
        if variant is not None:
            raise InputError(f"{path}: a Keras file has no variants; leave out --variant {variant}")
        return KerasRunner(path)
    bundle = load_bundle(path)
    try:
        return BundleRunner(bundle, variant or default_variant(bundle), owns_bundle=True)
    except BaseException:
        bundle.close()
        raise


def default_variant(bundle: ModelBundle) -> str:
    """Return int8 if the bundle has it, else its first variant."""
    names = list(bundle.manifest.variants)
    return DEFAULT_VARIANT if DEFAULT_VARIANT in names else names[0]


def runnable_variants(bundle: ModelBundle) -> tuple[str, ...]:
    """Return the variants that can be run, float32 first; print the others on stderr. Raises ModelError for none."""
    variants = bundle.manifest.variants
    runnable = []
    for name, variant in variants.items():
        problem = _problem(variant.suffix)
        if problem is None:
            runnable.append(name)
        else:
            sys.stderr.write(f"fer-edge: {name} is left out: {problem}\n")
    if not runnable:
        raise ModelError(f"{bundle.folder}: no variant that can be run; it has {', '.join(variants)}")
    return tuple(sorted(runnable, key=lambda name: name != REFERENCE))


def _problem(suffix: str) -> str | None:
    """Return why files of this kind cannot be run here; None if they can."""
    if suffix not in (".tflite", ONNX):
        return f"only .tflite and {ONNX} files can be run"
    if suffix == ONNX and importlib.util.find_spec("onnxruntime") is None:
        return str(MissingExtraError("onnxruntime", "bench"))
    return None


def fitted(images: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Return ``images`` at ``size`` (height, width), resampled as on the device."""
    if images.shape[1:] == size:
        return images
    return np.stack([resample(image, *size) for image in images])


def checked(logits: npt.NDArray[np.generic], where: str) -> Float32Array:
    """Return ``logits`` of the file ``where`` as float32 [N, labels]. Raises ModelError if they are not finite."""
    found = np.asarray(logits, dtype=np.float32)
    if found.ndim != 2:
        raise ModelError(f"{where}: its output must be one logit per label, not of shape {found.shape[1:]}")
    if not np.all(np.isfinite(found)):
        raise ModelError(f"{where}: it returns NaN or infinity; convert it again")
    return found
