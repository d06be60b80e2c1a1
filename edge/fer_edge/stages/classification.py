"""Face crop to calibrated emotion probabilities, through any variant of a model bundle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fer_edge.errors import ModelError
from fer_edge.model.bundle import ModelBundle, ModelManifest, ModelVariant
from fer_edge.model.interpreter import LiteRtModel, TensorDetails, TensorModel
from fer_edge.model.quantization import Quantization, softmax
from fer_edge.settings.runtime import ModelSettings
from fer_edge.system.closing import Closing
from fer_edge.types import CropSpec, EmotionProbabilities, FaceCrop, Float32Array, UInt8Array


class EmotionClassifier(Closing):
    """A bundle's variant, ready to run. Not for use by two threads at once."""

    def __init__(
        self,
        bundle: ModelBundle,
        variant: str = "int8",
        threads: int = 1,
        load: Callable[[Path, int], TensorModel] = LiteRtModel,
    ) -> None:
        """Load ``variant`` by ``load``, which is given its file and ``threads``: the benchmarks have other runtimes.

        Raises ModelError when it is missing, damaged, or not what the manifest says it is.
        """
        manifest = bundle.manifest
        chosen = bundle.variant(variant)
        self.labels = manifest.labels
        """Label of each probability, in order."""
        self.crop_spec = CropSpec(manifest.input.height, manifest.input.width)
        """The crop that ``classify`` takes."""
        self._io = chosen.io
        self._temperature = manifest.temperature
        self._model = load(chosen.path, threads)
        _check_contract(manifest, chosen, self._model)
        self.interpreter = self._model.describe()
        """What runs the model, and how much of it a delegate has taken."""
        # One run at load: a broken conversion answers NaN, and the first frame should not pay for the start.
        blank = np.zeros((manifest.input.height, manifest.input.width), dtype=np.uint8)
        if not np.isfinite(self.logits(blank)).all():
            raise ModelError(f"{chosen.path}: the model answers with NaN or infinity: convert it again")

    @classmethod
    def from_settings(cls, bundle: ModelBundle, settings: ModelSettings, variant: str | None = None) -> Self:
        """A bundle's ``variant`` (default: that of ``settings``), run as the settings say. Raises ModelError."""
        load = partial(LiteRtModel, interpreter=settings.interpreter)
        return cls(bundle, variant or settings.variant, settings.threads, load)

    def classify(self, crop: FaceCrop) -> EmotionProbabilities:
        """Probabilities of each label for one crop of ``crop_spec``'s size."""
        return EmotionProbabilities(softmax(self.logits(crop.pixels), self._temperature))

    def logits(self, pixels: UInt8Array) -> Float32Array:
        """Raw logits, float32 [labels], for pixels uint8 [height, width]."""
        raw = self._model.invoke(_to_input(pixels[np.newaxis, :, :, np.newaxis], self._io.input))
        return _from_output(raw[0], self._io.output)

    def close(self) -> None:
        """Release the model; may be called twice."""
        self._model.close()


def _to_input(pixels: UInt8Array, codec: Quantization) -> npt.NDArray[Any]:
    if codec.dtype == "float32":
        return pixels.astype(np.float32)
    # The contract's int8 model takes pixels as they come: scaling is part of its graph.
    if (codec.dtype, codec.scale, codec.zero_point) == ("uint8", 1.0, 0):
        return pixels
    return codec.quantize(pixels)


def _from_output(raw: npt.NDArray[Any], codec: Quantization) -> Float32Array:
    return raw.astype(np.float32) if codec.dtype == "float32" else codec.dequantize(raw)


def _check_contract(manifest: ModelManifest, variant: ModelVariant, model: TensorModel) -> None:
    """Refuse a file whose own tensors disagree with the manifest: it would answer, and be wrong."""
    size = manifest.input
    shapes = {"input": (1, size.height, size.width, size.channels), "output": (1, len(manifest.labels))}
    for side, codec, details in (
        ("input", variant.io.input, model.input_details),
        ("output", variant.io.output, model.output_details),
    ):
        if details.shape != shapes[side]:
            raise ModelError(
                f"{variant.path}: {side} shape is {list(details.shape)}, the manifest means {list(shapes[side])}"
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
    # The file holds the scale as float32, the manifest in decimal.
    return codec.zero_point == details.zero_point and bool(np.isclose(codec.scale, details.scale, rtol=1e-5))
