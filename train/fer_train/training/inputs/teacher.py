"""Distillation from trained networks that predict each augmented image in training: ``targets.teacher_models``.

A teacher that gets the student's own input helps for longer than soft labels of the original images (Beyer et al.,
2021, arXiv:2106.05237).
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
from fer_train.networks.model_files import check_contract, load_model
from fer_train.recipe.targets import TargetSettings
from fer_train.training.run_folder.files import labels_of_run, model_file


class Teacher:
    """One or several trained networks; their mean probabilities are ``share`` of the targets."""

    def __init__(
        self,
        models: Sequence[Path],
        share: float,
        labels: Sequence[str],
        precision: str = "float32",
        *,
        mirrored: bool = False,
    ) -> None:
        """Load the networks.

        Args:
            models: Folders of runs or ``.keras`` files.
            share: Share of the targets.
            labels: The labels that the networks must have.
            precision: Type in which their layers compute.
            mirrored: Average over each image and its mirror image.

        Raises:
            InputError: if a file is missing.
            ModelError: if it is not a network for ``labels``.
        """
        self.share = share
        self.mirrored = mirrored
        self.networks = [_load(path, tuple(labels), precision) for path in models]

    def add_share(self, images: Float32Array, targets: Float32Array) -> Float32Array:
        """Return ``targets`` [N, labels] plus the teacher's share, for ``images`` float32 [N, S, S, 1] in 0..255."""
        views = [images, np.ascontiguousarray(images[:, :, ::-1])] if self.mirrored else [images]
        answers = [self._answers(network, view) for network in self.networks for view in views]
        return np.asarray(targets + self.share * np.mean(answers, axis=0), dtype=np.float32)

    def _answers(self, network: Any, images: Float32Array) -> Float32Array:
        _, height, width, _ = network.input_shape
        return softmax(np.asarray(network.predict_on_batch(_resized(images, height, width)), dtype=np.float32))


def teacher_of(settings: TargetSettings, labels: Sequence[str], precision: str = "float32") -> Teacher | None:
    """Return the teacher that ``settings`` name, or None. Raises as ``Teacher``."""
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


def _resized(images: Float32Array, height: int, width: int) -> Float32Array:
    """Return ``images`` [N, S, S, 1] scaled to the size that a teacher takes."""
    if images.shape[1:3] == (height, width):
        return images
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images])[..., None]
