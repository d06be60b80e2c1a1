"""A training recipe: msgspec structs read from one TOML file, strictly; every key has a default."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from fer_edge.errors import ConfigError
from fer_edge.settings.base import Settings, decode, require
from fer_edge.settings.toml_files import read_toml
from fer_edge.settings.values import Share
from fer_train.data_config import MAX_FLOAT, DataSettings, ImageSize, Positive

MOST = 1_000_000
"""Bound of counts that have no natural one; far beyond it, arithmetic on them overflows."""
RUN_CONFIG = "config.toml"
"""Name of the file in a run's folder that holds its recipe, every default written out."""
ARCHITECTURES = ("fer_edge", "mini_xception", "vgg16")
"""The networks that go by a name; ``module:function`` names one of somebody else's."""

Count = Annotated[int, Meta(ge=0, le=MOST)]
Seed = Annotated[int, Meta(ge=0, lt=2**32)]
Width = Annotated[int, Meta(ge=1)]
ShareBelowOne = Annotated[float, Meta(ge=0, lt=1)]
NonNegative = Annotated[float, Meta(ge=0, le=MAX_FLOAT, extra={"allowed": "a finite number of at least 0"})]


class Vgg16Settings(Settings, frozen=True):
    """How ``fer_train.architectures.vgg16`` is put together and tuned."""

    weights: Annotated[str, Meta(min_length=1, extra={"allowed": "'imagenet', 'none' or a path"})] = "imagenet"
    """What the convolutions begin with: ``imagenet`` (Keras downloads them once), ``none`` (random), or the path of a
    file that Keras saved of a VGG16, weights alone or the whole model."""
    enlarge: Annotated[int, Meta(ge=1, le=8)] = 2
    """How many times larger the picture is made, inside the graph: VGG16 halves it five times."""
    head_width: Annotated[int, Meta(ge=1, le=4096)] = 256
    """Units of the dense layer between the features and the logits."""
    frozen_epochs: Count = 3
    """Epochs in which the head alone learns."""
    tuned_blocks: Annotated[int, Meta(ge=0, le=5)] = 1
    """How many of VGG16's five blocks, from the last one, learn too after that."""
    tuned_rate: Annotated[float, Meta(gt=0, le=1)] = 0.1
    """Factor on the learning rate from then on."""


class ModelSettings(Settings, frozen=True):
    """Which network, and for ours (``fer_train.model``) its measures."""

    architecture: str = "fer_edge"
    """``fer_edge``: ours; ``mini_xception``; ``vgg16``; or ``module:function`` of your own: see
    ``fer_train.architectures``. The keys below are for ``fer_edge`` alone, but for
    ``dropout``, which is for ``vgg16`` too, and ``weights``, which is for all but that."""
    stem_width: Width = 16
    """Channels of the first convolution; a multiple of 16."""
    stem_stride: Literal[1, 2] = 1
    """1: the first convolution runs at full resolution; 2: it halves it, instead of the first stage."""
    stem_blocks: Annotated[int, Meta(ge=0)] = 0
    """Blocks of ``stem_width`` channels after the first convolution, at its resolution."""
    block: Literal["residual", "inverted", "repvgg", "plain"] = "residual"
    """What the stages are built of: see ``fer_train.blocks``."""
    widths: tuple[Width, ...] = (32, 64, 128)
    """Channels of each stage; every stage halves the resolution."""
    blocks: tuple[Width, ...] = (2, 2, 2)
    """Blocks in each stage."""
    dropout: ShareBelowOne = 0.2
    """Share of the pooled features dropped in training, 0..1."""
    weights: str = ""
    """What the network begins with, for fine-tuning: a ``.keras`` file of the same network, or the folder of its run.
    Its last layer begins anew where the labels are others. Empty: random weights."""
    vgg16: Vgg16Settings | None = None
    """For ``architecture = "vgg16"``."""

    def _check(self) -> None:
        self._check_architecture()
        require(len(self.widths) == len(self.blocks) > 0, "widths and blocks must be equally long and not empty")
        # TensorFlow 2.21 with oneDNN on AVX-512 ends in a segmentation fault in the gradient of a 48x48 convolution
        # from 1 to 4 or 8 channels; 16, its vector width, is safe.
        require(self.stem_width % 16 == 0, "stem_width must be a multiple of 16 (TensorFlow crashes on narrow ones)")

    def _check_architecture(self) -> None:
        name = self.architecture
        require(
            name in ARCHITECTURES or re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) is not None,
            f"architecture must be {', '.join(ARCHITECTURES)} or module:function, not {name!r}",
        )
        require(self.vgg16 is None or name == "vgg16", f"the table vgg16 is not for architecture {name!r}")
        if name == "fer_edge":
            return
        # A key that does nothing would be believed to do something.
        for key, default in zip(self.__struct_fields__, self.__struct_defaults__, strict=True):
            if key in ("architecture", "vgg16") or key == ("dropout" if name == "vgg16" else "weights"):
                continue
            require(getattr(self, key) == default, f"{key} is for architecture 'fer_edge', not {name!r}")


class AugmentSettings(Settings, frozen=True):
    """Random changes of each training image that keep its label, or share it as they do pixels; 0 turns each off."""

    flip: Share = 0.5
    """Probability of a left-right flip."""
    rotate_degrees: Annotated[float, Meta(ge=0, le=180)] = 12.0
    """Largest rotation either way."""
    scale: ShareBelowOne = 0.12
    """Largest change of size, as a share: 0.12 gives factors of 0.88..1.12."""
    shift: Share = 0.08
    """Largest shift either way, as a share of the image's side."""
    brightness: Share = 0.15
    """Largest brightness offset either way, as a share of the full range 255."""
    contrast: Share = 0.2
    """Largest change of contrast about the image's mean, as a share."""
    erase_probability: Share = 0.25
    """Probability that a rectangle is overwritten with noise (random erasing, Zhong et al., arXiv:1708.04896)."""
    erase_area: Annotated[float, Meta(gt=0, lt=1)] = 0.15
    """Largest erased share of the image's area."""
    blur: Annotated[float, Meta(ge=0, le=16)] = 0.0
    """Largest standard deviation of a Gaussian blur, pixels of the training image; each image draws one up to it."""
    noise: Share = 0.0
    """Largest standard deviation of Gaussian noise, as a share of the full range 255; each image draws one up to it."""
    mixup_alpha: NonNegative = 0.0
    """Parameter of the Beta distribution of mixup (Zhang et al., arXiv:1710.09412); 0 turns it off."""
    cutmix_alpha: NonNegative = 0.0
    """The same of cutmix (Yun et al., arXiv:1905.04899), a rectangle of another image; with mixup too, each batch has
    one of them at random."""


class LoopSettings(Settings, frozen=True):
    """How long and how fast to learn."""

    seed: Seed = 1
    """Seeds the weights, the order of the images and their augmentation."""
    epochs: Annotated[int, Meta(ge=1, le=MOST)] = 36
    """Passes over the training images."""
    batch_size: Annotated[int, Meta(ge=2, le=MOST)] = 128
    """Images in a step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the layers compute in; weights, BatchNorm's statistics, logits and loss stay float32. bfloat16 takes about
    half the time on a GPU and on processors that have it (avx512_bf16), and more than float32 on those that do not."""
    precision_from: int = 0
    """Epoch (from 0) at which ``precision`` begins; before it, the layers compute in float32."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """``sgd`` has Nesterov momentum 0.9."""
    learning_rate: Positive = 2e-3
    """Peak rate; rises linearly over ``warmup_epochs``, then falls to 0: see ``cooldown_epochs``."""
    warmup_epochs: float = 1.0
    """Epochs of warm-up; may be a fraction."""
    cooldown_epochs: int = 0
    """0: the rate falls as a cosine from the warm-up to the end. Otherwise it stays at its peak and falls, as one minus
    the square root of the share done, over the last so many epochs (Hägele et al., arXiv:2405.18392): a longer run then
    begins exactly as a shorter one does, and can start from it."""
    averaged_epochs: int = 0
    """0: the epoch best on PublicTest is kept. Otherwise the mean of the weights at the end of each of the last so many
    epochs, with BatchNorm's statistics taken anew of Training images as they are: see ``fer_train.averaging``."""
    weight_decay: NonNegative = 0.05
    """Decoupled weight decay of the kernels; biases and BatchNorm parameters are left out."""
    label_smoothing: ShareBelowOne = 0.1
    """Share of each label spread over all classes (Szegedy et al., arXiv:1512.00567)."""
    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    """Weight of a class in the loss: equal, inverse to its frequency, or the square root of that."""
    sizes: tuple[ImageSize, ...] = (48,)
    """Side of the training images in pixels, phase by phase; small ones first make early epochs cheap
    (progressive learning, Tan & Le, arXiv:2104.00298). The last one should be the model's input size."""
    size_changes: tuple[int, ...] = ()
    """Epoch (from 0) at which each next size begins; below 0 counts from the end. One fewer than ``sizes``."""

    def _check(self) -> None:
        require(0 <= self.precision_from < self.epochs, "precision_from must be from 0 to below epochs")
        require(not self.precision_from or self.precision != "float32", "precision_from needs a precision but float32")
        require(0 <= self.warmup_epochs <= self.epochs, "warmup_epochs must be in 0..epochs")
        require(len(self.sizes) == len(self.size_changes) + 1, "size_changes must have one value fewer than sizes")
        begins = (0, *self._size_begins(), self.epochs)
        require(all(a < b for a, b in pairwise(begins)), "size_changes must rise between 0 and epochs")
        require(
            0 <= self.cooldown_epochs <= self.epochs - self.warmup_epochs,
            "cooldown_epochs must be 0 or more and fit into epochs beside warmup_epochs",
        )

        require(0 <= self.averaged_epochs <= self.epochs, "averaged_epochs must be in 0..epochs")

    @property
    def held_epochs(self) -> int:
        """Whole epochs before the rate begins to fall: up to there, a longer run does the same."""
        return self.epochs - self.cooldown_epochs if self.cooldown_epochs else math.floor(self.warmup_epochs)

    def size_at(self, epoch: int) -> int:
        """Side of the training images in pixels in ``epoch`` (from 0)."""
        return self.sizes[sum(epoch >= begin for begin in self._size_begins())]

    def precision_at(self, epoch: int) -> str:
        """What the layers compute in, in ``epoch`` (from 0)."""
        return self.precision if epoch >= self.precision_from else "float32"

    def rate_at(self, epochs_done: float) -> float:
        """The learning rate after so many epochs; fractions are steps within an epoch."""
        if epochs_done < self.warmup_epochs:
            return self.learning_rate * (epochs_done / self.warmup_epochs)
        falling = self.cooldown_epochs or self.epochs - self.warmup_epochs
        done = 1 - (self.epochs - epochs_done) / falling if falling else 0.0
        if done <= 0:
            return self.learning_rate
        share = 1 - math.sqrt(done) if self.cooldown_epochs else (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * max(0.0, share)

    def _size_begins(self) -> tuple[int, ...]:
        return tuple(begin if begin >= 0 else self.epochs + begin for begin in self.size_changes)


class TargetSettings(Settings, frozen=True):
    """What the network learns to answer: FER2013's label, softened by what else is known of each Training image.

    FER2013 has one label an image, wrong or arguable for many. The shares below take their part of it.
    """

    crowd: Share = 0.0
    """Share of what ten people saw in the image (FER+, Barsoum et al., arXiv:1608.01041), told in FER2013's terms."""
    teacher: Share = 0.0
    """Share of what a teacher answers (distillation, Hinton et al., arXiv:1503.02531)."""
    teacher_labels: str = ""
    """File of the teacher's soft labels, written by ``fer-edge data soft-labels``; relative to the current folder."""
    teacher_models: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """In its place, runs' folders or ``.keras`` files: they are asked about each image as it is learned, changed at
    random, and their mean is taken (Beyer et al., arXiv:2106.05237). Takes their time on top of the network's own."""
    teacher_mirrored: bool = False
    """Ask ``teacher_models`` about each image's mirror image too, and take the mean: twice their time."""
    teacher_from: Count = 0
    """Epoch (from 0) at which the teacher is first heard; before it, label and crowd take its share in proportion."""

    def _check(self) -> None:
        require(self.crowd + self.teacher <= 1, "crowd and teacher must not exceed 1 together")
        asked = bool(self.teacher_labels) + bool(self.teacher_models)
        require(asked == (self.teacher > 0), "teacher goes with one of teacher_labels and teacher_models")
        require(
            bool(self.teacher_models) or not self.teacher_mirrored,
            "teacher_mirrored needs teacher_models (fer-edge data soft-labels always asks about both)",
        )
        require(self.teacher > 0 or not self.teacher_from, "teacher_from needs a teacher")
        require(
            self.teacher < 1 or not self.teacher_from, "teacher_from leaves nothing to learn before it: teacher is 1"
        )

    def at(self, epoch: int) -> TargetSettings:
        """What holds in ``epoch`` (from 0), as settings that hold throughout."""
        if epoch < self.teacher_from:
            # Rounded, so that a recipe's decimals meet those of the one without a teacher.
            return TargetSettings(crowd=round(self.crowd / (1 - self.teacher), 9))
        return replace(self, teacher_from=0)


class Recipe(Settings, frozen=True):
    """All that decides a training run, apart from the images themselves."""

    name: str = "unnamed"
    """Name of the run and of the bundle made from it."""
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    targets: TargetSettings = TargetSettings()
    loop: LoopSettings = LoopSettings()

    def _check(self) -> None:
        require(
            self.targets.teacher_from < self.loop.epochs,
            "targets.teacher_from must be below loop.epochs, or nobody hears it",
        )
        require(
            self.data.size in (DataSettings().size, self.loop.sizes[-1]),
            f"data.size is {self.data.size}, but loop.sizes ends with {self.loop.sizes[-1]}: they must be the same",
        )


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises ConfigError with the key's path and what is allowed.

    ``[tune]`` is no part of what a run does, and is left to ``fer_train.tuning``.
    """
    table = {key: value for key, value in read_toml(path).items() if key != "tune"}
    return decode(Recipe, table, str(path))


def with_weights(recipe: Recipe, weights: str) -> Recipe:
    """``recipe`` with other weights to begin with. Raises ConfigError for what its network cannot begin with."""
    if not weights:
        raise ConfigError("--weights: must be imagenet, none or a path")
    if recipe.model.architecture == "vgg16":
        own = replace(recipe.model.vgg16 or Vgg16Settings(), weights=weights)
        return replace(recipe, model=replace(recipe.model, vgg16=own))
    if weights == "imagenet":
        raise ConfigError(
            f"--weights imagenet is for architecture 'vgg16'; the recipe's is {recipe.model.architecture!r}, which "
            "takes none or a path"
        )
    return replace(recipe, model=replace(recipe.model, weights="" if weights == "none" else weights))
