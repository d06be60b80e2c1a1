"""Trained networks that are asked about images as they are learned, changed at random: ``targets.teacher_models``.

A teacher that sees what its student sees is listened to for longer than one that has answered about the images as they
are, once and for all (Beyer et al., 2021, arXiv:2106.05237).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_edge.errors import ModelError
from fer_edge.model.quantization import softmax
from fer_edge.types import Float32Array
from fer_train.backend import check_contract, load_model
from fer_train.recipe.recipe import TargetSettings
from fer_train.training.run_folder import labels_of_run, model_file


class Teacher:
    """One or several trained networks, whose mean answer makes up ``share`` of what is to be learned."""

    def __init__(
        self,
        models: Sequence[Path],
        share: float,
        labels: Sequence[str],
        precision: str = "float32",
        *,
        mirrored: bool = False,
    ) -> None:
        """``models`` are runs' folders or ``.keras`` files for ``labels``; their layers compute in ``precision``.

        With ``mirrored`` each answer is the mean over an image and its mirror image. Raises InputError or ModelError
        for one that is missing or is no network for these labels.
        """
        self.share = share
        self._mirrored = mirrored
        self._networks = [_load(path, tuple(labels), precision) for path in models]

    def teach(self, images: Float32Array, targets: Float32Array) -> Float32Array:
        """``targets`` [N, labels] with the teacher's share added, for ``images`` float32 [N, S, S, 1] in 0..255."""
        views = [images, np.ascontiguousarray(images[:, :, ::-1])] if self._mirrored else [images]
        answers = [self._answers(network, view) for network in self._networks for view in views]
        return np.asarray(targets + self.share * np.mean(answers, axis=0), dtype=np.float32)

    def _answers(self, network: Any, images: Float32Array) -> Float32Array:
        _, height, width, _ = network.input_shape
        return softmax(np.asarray(network.predict_on_batch(_fitted(images, height, width)), dtype=np.float32))


def teacher_of(settings: TargetSettings, labels: Sequence[str], precision: str = "float32") -> Teacher | None:
    """The networks that ``settings`` name; None where they name none. Raises as ``Teacher`` does."""
    if not settings.teacher_models:
        return None
    models = [Path(model) for model in settings.teacher_models]
    return Teacher(models, settings.teacher, labels, precision, mirrored=settings.teacher_mirrored)


def _load(path: Path, labels: tuple[str, ...], precision: str) -> Any:
    file = model_file(path)
    model = load_model(file)
    learned = labels_of_run(file)
    if learned not in (None, labels):
        raise ModelError(f"{path}: knows {', '.join(learned or ())}; wanted {', '.join(labels)}")
    check_contract(file, model, labels)
    if precision == "bfloat16":
        for layer in model.layers[:-1]:
            layer.dtype_policy = "mixed_bfloat16"
    return model


def _fitted(images: Float32Array, height: int, width: int) -> Float32Array:
    """``images`` [N, S, S, 1] at the size that a teacher takes."""
    if images.shape[1:3] == (height, width):
        return images
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images])[..., None]
