"""``[model]`` of a recipe: the network."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta

from fer_edge.settings.base import Settings, require
from fer_train.recipe.values import Count, ShareBelowOne, Width

_FER_EDGE_KEYS = ("stem_width", "stem_stride", "stem_blocks", "block", "widths", "blocks")
ARCHITECTURES = {
    "fer_edge": (*_FER_EDGE_KEYS, "dropout", "weights"),
    "mini_xception": ("weights",),
    "vgg16": ("dropout", "vgg16"),
}
"""The keys of ``[model]`` that each named network uses, other than ``architecture``."""
_CUSTOM_KEYS = ("weights",)
"""The keys that a user's own network, ``module:function``, uses."""


class Vgg16Settings(Settings, frozen=True):
    """``[model.vgg16]``: structure and fine-tuning of VGG16."""

    weights: Annotated[
        Annotated[str, Meta(min_length=1, extra={"allowed": "'imagenet', 'none' or a path"})],
        Meta(
            description="Initial weights of the convolutions: `imagenet` (Keras downloads them once), `none` (random),"
            " or the path of a file of a VGG16 saved by Keras, either its weights or the whole model."
        ),
    ] = "imagenet"
    enlarge: Annotated[
        Annotated[int, Meta(ge=1, le=8)],
        Meta(description="Factor by which the graph enlarges the image: VGG16 halves it five times."),
    ] = 2
    head_width: Annotated[
        Annotated[int, Meta(ge=1, le=4096)],
        Meta(description="Units of the dense layer between the features and the logits."),
    ] = 256
    frozen_epochs: Annotated[Count, Meta(description="Epochs in which only the head is trained.")] = 3
    tuned_blocks: Annotated[
        Annotated[int, Meta(ge=0, le=5)],
        Meta(description="Number of VGG16's five blocks, from the last one, that are trained after that."),
    ] = 1
    tuned_rate: Annotated[
        Annotated[float, Meta(gt=0, le=1)],
        Meta(description="Factor on the learning rate while convolutions are trained."),
    ] = 0.1


class ModelSettings(Settings, frozen=True):
    """``[model]``: the network. `weights` is for all networks but `vgg16`, `dropout` for `fer_edge` and `vgg16`, and
    the keys from `stem_width` to `blocks` for `fer_edge` only."""

    architecture: Annotated[
        str,
        Meta(
            description="`fer_edge`: this project's network; `mini_xception`; `vgg16`; or `module:function`, your own"
            " function, which is called with height, width and number of labels and returns a Keras model."
        ),
    ] = "fer_edge"
    stem_width: Annotated[Width, Meta(description="Channels of the first convolution, a multiple of 16.")] = 16
    stem_stride: Annotated[
        Literal[1, 2],
        Meta(
            description="1: the first convolution runs at full resolution. 2: it halves the resolution, instead of the"
            " first stage."
        ),
    ] = 1
    stem_blocks: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="Blocks of `stem_width` channels after the first convolution, at its resolution."),
    ] = 0
    block: Annotated[
        Literal["residual", "inverted", "repvgg", "plain"],
        Meta(
            description="Building block of the stages: two 3x3 convolutions with a shortcut (ResNet), an inverted"
            " residual (MobileNetV2), parallel convolutions that are folded into one after training (RepVGG), or one"
            " 3x3 convolution (VGG with BatchNorm)."
        ),
    ] = "residual"
    widths: Annotated[
        tuple[Width, ...], Meta(description="Channels of each stage; each stage halves the resolution.")
    ] = (32, 64, 128)
    blocks: Annotated[tuple[Width, ...], Meta(description="Blocks in each stage, as many values as `widths`.")] = (
        2,
        2,
        2,
    )
    dropout: Annotated[ShareBelowOne, Meta(description="Share of the pooled features dropped in training.")] = 0.2
    weights: Annotated[
        str,
        Meta(
            description="Initial weights, for fine-tuning: a `.keras` file of the same network, or the folder of its"
            " run. If its labels differ, the last layer starts from random weights. Empty: all weights are random."
        ),
    ] = ""
    vgg16: Annotated[Vgg16Settings | None, Meta(description='Only for `architecture = "vgg16"`.')] = None

    @property
    def uses_vgg16(self) -> bool:
        """Whether the network has the settings ``vgg16``, including its initial weights."""
        return "vgg16" in self._used_keys()

    def _used_keys(self) -> tuple[str, ...]:
        return ARCHITECTURES.get(self.architecture, _CUSTOM_KEYS)

    def _check(self) -> None:
        self._check_architecture()
        require(
            len(self.widths) == len(self.blocks) > 0,
            f"widths and blocks must be equally long and not empty, not {list(self.widths)} and {list(self.blocks)}",
        )
        # TensorFlow 2.21 with oneDNN on AVX-512 ends in a segmentation fault in the gradient of a 48x48 convolution
        # from 1 to 4 or 8 channels; 16, its vector width, is safe.
        require(
            self.stem_width % 16 == 0,
            f"stem_width must be a multiple of 16 (TensorFlow crashes on narrow ones), not {self.stem_width}",
        )

    def _check_architecture(self) -> None:
        name, used = self.architecture, self._used_keys()
        require(
            name in ARCHITECTURES or re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) is not None,
            f"architecture must be {', '.join(ARCHITECTURES)} or module:function, not {name!r}",
        )
        require(self.vgg16 is None or self.uses_vgg16, f"the table vgg16 is not for architecture {name!r}")
        # Refuse a key that would have no effect.
        for key, default in zip(self.__struct_fields__, self.__struct_defaults__, strict=True):
            if key in ("architecture", *used):
                continue
            users = " and ".join(repr(each) for each, keys in ARCHITECTURES.items() if key in keys)
            require(getattr(self, key) == default, f"{key} is for architecture {users}, not {name!r}")
