"""``[augment]`` of a recipe: random changes of the training images."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fer_edge.settings.base import Settings
from fer_edge.settings.values import Share
from fer_train.recipe.values import NonNegative, ShareBelowOne


class AugmentSettings(Settings, frozen=True):
    """``[augment]``: random changes of each training image. 0 turns a change off."""

    flip: Annotated[Share, Meta(description="Probability of a left-right flip.")] = 0.5
    rotate_degrees: Annotated[
        Annotated[float, Meta(ge=0, le=180)], Meta(description="Maximum rotation in either direction.")
    ] = 12.0
    scale: Annotated[
        ShareBelowOne, Meta(description="Maximum change of size, as a share: 0.12 gives factors of 0.88 to 1.12.")
    ] = 0.12
    shift: Annotated[Share, Meta(description="Maximum shift in either direction, as a share of the image's side.")] = (
        0.08
    )
    brightness: Annotated[
        Share, Meta(description="Maximum brightness offset in either direction, as a share of the full range 255.")
    ] = 0.15
    contrast: Annotated[Share, Meta(description="Maximum change of contrast about the image's mean, as a share.")] = 0.2
    erase_probability: Annotated[
        Share,
        Meta(
            description="Probability that a rectangle is overwritten with noise (random erasing, Zhong et al.,"
            " arXiv:1708.04896)."
        ),
    ] = 0.25
    erase_area: Annotated[
        Annotated[float, Meta(gt=0, lt=1)], Meta(description="Maximum erased share of the image's area.")
    ] = 0.15
    blur: Annotated[
        Annotated[float, Meta(ge=0, le=16)],
        Meta(
            description="Maximum standard deviation of a Gaussian blur, in pixels of the training image; drawn for"
            " each image."
        ),
    ] = 0.0
    noise: Annotated[
        Share,
        Meta(
            description="Maximum standard deviation of Gaussian noise, as a share of the full range 255; drawn for"
            " each image."
        ),
    ] = 0.0
    degrade_probability: Annotated[
        Share,
        Meta(
            description="Probability that an image gets `blur` and `noise`. They come last, and the networks of"
            " `targets.teacher_models` see the image without them."
        ),
    ] = 1.0
    mixup_alpha: Annotated[
        NonNegative,
        Meta(description="Parameter of the Beta distribution of mixup (Zhang et al., arXiv:1710.09412)."),
    ] = 0.0
    cutmix_alpha: Annotated[
        NonNegative,
        Meta(
            description="Parameter of the Beta distribution of cutmix (Yun et al., arXiv:1905.04899), which pastes a"
            " rectangle of another image. If mixup is also on, each batch uses one of the two at random."
        ),
    ] = 0.0
