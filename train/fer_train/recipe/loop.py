"""``[loop]`` of a recipe: length, learning rate and sizes of training."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fer_edge.settings.base import Settings, require
from fer_train.recipe.values import MAX_COUNT, Adjustment, ImageSize, NonNegative, Positive, Seed, ShareBelowOne


class LoopSettings(Settings, frozen=True):
    """``[loop]``: length, learning rate and image sizes of training. Epochs count from 0."""

    seed: Annotated[Seed, Meta(description="Seed of the weights, the order of the images and their augmentation.")] = 1
    epochs: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_COUNT)], Meta(description="Passes over the training images.")
    ] = 36
    batch_size: Annotated[
        Annotated[int, Meta(ge=2, le=MAX_COUNT)], Meta(description="Images in each training step.")
    ] = 128
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Meta(
            description="Type in which the layers compute; weights, statistics of BatchNorm, logits and loss are"
            " always float32. bfloat16 takes about half the time on a GPU and on processors with avx512_bf16, and"
            " longer than float32 on others."
        ),
    ] = "float32"
    precision_from: Annotated[
        int,
        Meta(description="Epoch from which `precision` applies; before it, the layers compute in float32."),
    ] = 0
    optimizer: Annotated[Literal["adamw", "sgd"], Meta(description="`sgd` has Nesterov momentum 0.9.")] = "adamw"
    learning_rate: Annotated[
        Positive,
        Meta(
            description="Peak learning rate. It rises linearly over `warmup_epochs`, then falls to 0 as"
            " `cooldown_epochs` says."
        ),
    ] = 2e-3
    warmup_epochs: Annotated[float, Meta(description="Epochs of warm-up, at most `epochs`; may be a fraction.")] = 1.0
    cooldown_epochs: Annotated[
        int,
        Meta(
            description="0: the rate falls as a cosine from the warm-up to the end. Otherwise it stays at its peak and"
            " falls over this number of last epochs, as one minus the square root of the share done (Hägele et al.,"
            " arXiv:2405.18392). A longer run then starts exactly as a shorter one, and can start from it (`--from`)."
        ),
    ] = 0
    averaged_epochs: Annotated[
        int,
        Meta(
            description="0: the epoch with the best validation accuracy is the run's model. Otherwise the model is the"
            " mean of the weights at the end of this number of last epochs, with statistics of BatchNorm computed"
            " again from `norm_images`."
        ),
    ] = 0
    norm_images: Annotated[
        Literal["plain", "augmented"],
        Meta(
            description="Training images from which the statistics of BatchNorm are computed for `averaged_epochs`:"
            " as they are, or augmented as in training, which was better with strong augmentation (train/RESULTS.md)."
        ),
    ] = "plain"
    min_save_interval_s: Annotated[
        NonNegative,
        Meta(
            description="Least time between two checkpoints in seconds; 0: one after each epoch. On a GPU, where an"
            " epoch takes a second, writing takes as long. A killed run repeats the epochs since its last checkpoint."
            " Needs `averaged_epochs`, since the best epoch may have no checkpoint."
        ),
    ] = 0.0
    weight_decay: Annotated[
        NonNegative,
        Meta(description="Decoupled weight decay of the kernels; biases and parameters of BatchNorm have none."),
    ] = 0.05
    label_smoothing: Annotated[
        ShareBelowOne,
        Meta(description="Share of each label that is spread over all classes (Szegedy et al., arXiv:1512.00567)."),
    ] = 0.1
    class_weights: Annotated[
        Literal["none", "balanced", "sqrt"],
        Meta(
            description="Weight of a class in the loss: equal, inverse to its frequency, or inverse to the square root"
            " of its frequency."
        ),
    ] = "none"
    logit_adjustments: Annotated[
        dict[str, Adjustment],
        Meta(
            description="Labels that the network should choose more often than their probability alone says, as in"
            " `{ fear = 0.2 }`: the loss is computed from the logits minus these numbers (logit-adjusted loss, Menon et"
            " al., arXiv:2007.07314). That raises the recall of these labels, and lowers their precision."
        ),
    ] = msgspec.field(default_factory=dict)
    sizes: Annotated[
        tuple[ImageSize, ...],
        Meta(
            description="Side of the training images in pixels, phase by phase. Small images make early epochs cheap"
            " (progressive learning, Tan & Le, arXiv:2104.00298). The last value must be the model's input size,"
            " `data.size`, unless that is not set."
        ),
    ] = (48,)
    size_changes: Annotated[
        tuple[int, ...],
        Meta(
            description="Epoch at which each next size starts; negative values count from the end. One value fewer"
            " than `sizes`."
        ),
    ] = ()

    def _check(self) -> None:
        require(
            0 <= self.precision_from < self.epochs,
            f"precision_from must be from 0 to below epochs, not {self.precision_from}",
        )
        require(
            not self.precision_from or self.precision != "float32",
            f"precision_from = {self.precision_from} needs precision = 'bfloat16'",
        )
        require(
            0 <= self.warmup_epochs <= self.epochs, f"warmup_epochs must be in 0..epochs, not {self.warmup_epochs:g}"
        )
        require(
            len(self.sizes) == len(self.size_changes) + 1,
            f"size_changes must have one value fewer than sizes, not {len(self.size_changes)} for {len(self.sizes)}",
        )
        begins = (0, *self._size_begins(), self.epochs)
        require(
            all(a < b for a, b in pairwise(begins)),
            f"size_changes must rise between 0 and epochs, not {list(self.size_changes)}",
        )
        require(
            0 <= self.cooldown_epochs <= self.epochs - self.warmup_epochs,
            f"cooldown_epochs must be 0 or more, and at most epochs minus warmup_epochs, not {self.cooldown_epochs}",
        )
        require(
            0 <= self.averaged_epochs <= self.epochs,
            f"averaged_epochs must be in 0..epochs, not {self.averaged_epochs}",
        )
        require(
            not self.min_save_interval_s or self.averaged_epochs > 0,
            "min_save_interval_s needs averaged_epochs above 0",
        )

    @property
    def held_epochs(self) -> int:
        """Whole epochs before the rate starts to fall; a longer run is identical until then."""
        return self.epochs - self.cooldown_epochs if self.cooldown_epochs else math.floor(self.warmup_epochs)

    def size_at(self, epoch: int) -> int:
        """Return the side of the training images in pixels in ``epoch`` (from 0)."""
        return self.sizes[sum(epoch >= begin for begin in self._size_begins())]

    def precision_at(self, epoch: int) -> str:
        """Return the type in which the layers compute in ``epoch`` (from 0)."""
        return self.precision if epoch >= self.precision_from else "float32"

    def rate_at(self, epochs_done: float) -> float:
        """Return the learning rate after this number of epochs; fractions are steps within an epoch."""
        if epochs_done < self.warmup_epochs:
            return self.learning_rate * (epochs_done / self.warmup_epochs)
        falling = self.cooldown_epochs or self.epochs - self.warmup_epochs
        done = 1 - (self.epochs - epochs_done) / falling if falling else 0.0
        if done <= 0:
            return self.learning_rate
        share = 1 - math.sqrt(done) if self.cooldown_epochs else (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * max(0.0, share)

    def must_save(self, done: int) -> bool:
        """Return whether a checkpoint after ``done`` epochs is needed, however short the time since the last one."""
        averaged_or_last = done > self.epochs - max(1, self.averaged_epochs)
        falls_next = self.cooldown_epochs > 0 and done == self.held_epochs
        return not self.min_save_interval_s or averaged_or_last or falls_next

    def _size_begins(self) -> tuple[int, ...]:
        return tuple(begin if begin >= 0 else self.epochs + begin for begin in self.size_changes)
