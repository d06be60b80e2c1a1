"""Batches for Keras ``fit``.

Order and augmentation depend only on seed, epoch and step, so that a resumed run repeats them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fer_edge.types import Float32Array, UInt8Array
from fer_train.distributed.strategy import Shard
from fer_train.recipe.recipe import Recipe
from fer_train.training.inputs.augmentation import degrade_batch, training_batch
from fer_train.training.inputs.teacher import Teacher


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Images uint8 [N, H, W], labels [N], and the targets of each image: distributions float32 [N, labels].

    ``weights``, float32 [N], are those in the loss; None: equal. ``teacher`` adds its share, which ``targets`` lacks,
    for each augmented image.
    """

    images: UInt8Array
    labels: npt.NDArray[np.integer[Any]]
    targets: Float32Array
    weights: Float32Array | None = None
    teacher: Teacher | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def loss_weights(self, scheme: str) -> Float32Array:
        """Return the weight of each image in the loss, float32 [N]: that of its class by ``scheme``, times its own."""
        of_images: Float32Array = class_weights(self.labels, self.targets.shape[1], scheme)[self.labels]
        if self.weights is not None:
            # With a mean of 1, so that the learning rate has the same effect.
            of_images *= self.weights / self.weights.mean()
        return of_images


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """One epoch's shuffled, augmented batches of images float32 [B, S, S, 1], targets [B, labels] and weights [B].

    ``shard`` is the part of each batch on which this process trains (default: all). The whole batch is still computed:
    mixup pairs images of all shards, and the random numbers of an image follow those of the one before it.
    """

    def __init__(self, training: TrainingSet, recipe: Recipe, epoch: int, shard: Shard | None = None) -> None:
        # One worker thread prepares the next batch while this one is trained on; OpenCV releases the GIL.
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._training, self._recipe, self._epoch, self._shard = training, recipe, epoch, shard or Shard()
        self._weights = training.loss_weights(recipe.loop.class_weights)
        self._order = np.random.default_rng([recipe.loop.seed, epoch]).permutation(len(training))

    def __len__(self) -> int:
        whole_batches, rest = divmod(len(self._training), self._recipe.loop.batch_size)
        return whole_batches + (self._shard.used(rest) > 0)

    def __getitem__(self, step: int) -> tuple[Float32Array, Float32Array, Float32Array]:
        loop, augment = self._recipe.loop, self._recipe.augment
        rows = self._order[step * loop.batch_size : (step + 1) * loop.batch_size]
        rows = rows[: self._shard.used(len(rows))]
        random = np.random.default_rng([loop.seed, self._epoch, step])
        images, targets = training_batch(
            self._training.images[rows], self._training.targets[rows], loop.size_at(self._epoch), augment, random
        )
        ours = self._shard.of(len(rows))
        if teacher := self._training.teacher:
            # It sees what the network is to see through blur and noise.
            targets = teacher.add_share(images, targets)
        images = degrade_batch(images, augment, random)
        return images[ours], targets[ours], self._weights[rows][ours]


def class_weights(labels: npt.NDArray[np.integer[Any]], label_count: int, scheme: str) -> Float32Array:
    """Return the weight of each class, float32 [labels], with a mean of 1 over the images; 0 for an empty class."""
    counts = np.bincount(labels, minlength=label_count).astype(np.float64)
    power = {"none": 0.0, "balanced": 1.0, "sqrt": 0.5}[scheme]
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0.0)
    return np.asarray(weights * counts.sum() / (weights @ counts), dtype=np.float32)
