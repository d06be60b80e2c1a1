"""Classify a face crop with a variant of a model bundle: calibrated emotion probabilities."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fer_edge.errors import ModelError
from fer_edge.model.bundle import ModelBundle, ModelVariant
from fer_edge.model.interpreter import AUTO, LiteRtModel, TensorDetails, TensorModel
from fer_edge.model.manifest import ModelManifest, VariantIO
from fer_edge.model.quantization import Quantization, softmax
from fer_edge.model.trial import try_variant
from fer_edge.settings.runtime import ModelSettings
from fer_edge.system.closing import Closing
from fer_edge.types import CropSpec, EmotionProbabilities, FaceCrop, Float32Array, UInt8Array


class EmotionClassifier(Closing):
    """A variant of a model bundle, ready to run. Not thread-safe.

    >>> import numpy as np
    >>> from fer_edge import Box, Face, FaceCrop, load_bundle
    >>> classifier = EmotionClassifier(load_bundle())
    >>> pixels = np.zeros((classifier.crop_spec.height, classifier.crop_spec.width), np.uint8)
    >>> crop = FaceCrop(Face(Box(0, 0, 40, 40), score=1.0), pixels, quality=1.0)
    >>> classifier.classify(crop).values.shape == (len(classifier.labels),)
    True
    """

    def __init__(
        self,
        bundle: ModelBundle,
        variant: str = "int8",
        threads: int = 1,
        load: Callable[[Path, int], TensorModel] | None = None,
        interpreter: str = AUTO,
    ) -> None:
        """Load a variant and run it once.

        A variant that this machine has not run before is first tried in another process, see ``try_variant``.

        Args:
            bundle: May be closed afterwards.
            variant: Name of the variant.
            threads: Threads of one inference.
            load: Loads a file and a number of threads; the benchmarks pass other runtimes, which are not tried first.
                None: ``LiteRtModel`` with ``interpreter``.
            interpreter: As for ``LiteRtModel``.

        Raises:
            ModelError: If the variant is missing, damaged, different from the manifest, or crashes or hangs.
        """
        manifest = bundle.manifest
        chosen = bundle.variant(variant)
        self.labels = manifest.labels
        """Label of each probability, in order."""
        self.crop_spec = CropSpec(manifest.input.height, manifest.input.width)
        """Size and margin of the crop that ``classify`` takes."""
        self._output = chosen.io.output
        self._inputs = _input_values(chosen.io)
        self._temperature = manifest.temperature
        if load is None:
            try_variant(chosen, interpreter)
            load = partial(LiteRtModel, interpreter=interpreter)
        self._model = load(chosen.path, threads)
        _check_contract(manifest, chosen, self._model)
        self.interpreter = self._model.describe()
        """The interpreter, and how much of the graph a delegate runs."""
        # Run the model once, to detect a conversion that returns NaN, and to keep the start out of the first frame.
        blank = np.zeros((manifest.input.height, manifest.input.width), dtype=np.uint8)
        if not np.isfinite(self.logits(blank)).all():
            raise ModelError(f"{chosen.path}: the model returns NaN or infinity; convert it again")

    @classmethod
    def from_settings(cls, bundle: ModelBundle, settings: ModelSettings, variant: str | None = None) -> Self:
        """Load ``variant`` of ``bundle`` (None: that of ``settings``) with the interpreter and threads of ``settings``.

        Raises:
            ModelError: If the variant is missing, damaged, or different from the manifest.
        """
        return cls(bundle, variant or settings.variant, settings.threads, interpreter=settings.interpreter)

    def classify(self, crop: FaceCrop) -> EmotionProbabilities:
        """Return the probabilities of the labels for a crop of the size ``crop_spec``."""
        return EmotionProbabilities(softmax(self.logits(crop.pixels), self._temperature))

    def logits(self, pixels: UInt8Array) -> Float32Array:
        """Return the logits, float32 [labels], for ``pixels``, uint8 [height, width]."""
        pixels = pixels[np.newaxis, :, :, np.newaxis]
        # int8 models of this project take raw pixels: scaling is part of their graph.
        raw = self._model.invoke(pixels if self._inputs is None else self._inputs[pixels])
        return _from_output(raw[0], self._output)

    def close(self) -> None:
        """Release the model. Idempotent."""
        self._model.close()


def _input_values(io: VariantIO) -> npt.NDArray[Any] | None:
    """Return the stored input value of each pixel value, [256]; None if pixels are stored as they are."""
    codec, (low, high) = io.input, io.input_range
    if (codec.dtype, codec.scale, codec.zero_point, low, high) == ("uint8", 1.0, 0, 0.0, 255.0):
        return None
    real = np.linspace(low, high, 256)
    return real.astype(np.float32) if codec.dtype == "float32" else codec.quantize(real)


def _from_output(raw: npt.NDArray[Any], codec: Quantization) -> Float32Array:
    return raw.astype(np.float32) if codec.dtype == "float32" else codec.dequantize(raw)


def _check_contract(manifest: ModelManifest, variant: ModelVariant, model: TensorModel) -> None:
    """Raise ModelError if the file's tensors differ from the manifest: its results would be wrong without an error."""
    size = manifest.input
    shapes = {"input": (1, size.height, size.width, size.channels), "output": (1, len(manifest.labels))}
    for side, codec, details in (
        ("input", variant.io.input, model.input_details),
        ("output", variant.io.output, model.output_details),
    ):
        if details.shape != shapes[side]:
            raise ModelError(
                f"{variant.path}: {side} shape is {list(details.shape)}, the manifest says {list(shapes[side])}"
            )
        if not _same_codec(codec, details):
            raise ModelError(
                f"{variant.path}: {side} is {details.dtype} scale {details.scale:g} zero point "
                f"{details.zero_point}, the manifest says {codec.dtype} scale {codec.scale:g} "
                f"zero point {codec.zero_point}"
            )


def _same_codec(codec: Quantization, details: TensorDetails) -> bool:
    if codec.dtype != details.dtype:
        return False
    if codec.dtype == "float32":
        return True
    # The file stores the scale as float32, the manifest as a decimal number.
    return codec.zero_point == details.zero_point and bool(np.isclose(codec.scale, details.scale, rtol=1e-5))
