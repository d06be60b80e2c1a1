"""``[targets]`` of a recipe: what the network learns of each training image."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from fer_edge.settings.base import Settings, require
from fer_edge.settings.values import Share
from fer_train.recipe.values import Count


class TargetSettings(Settings, frozen=True):
    """``[targets]``: the distribution over labels that each training image is to give. FER2013 has one label for each
    image, which is wrong or ambiguous for many; FER+ votes and a teacher can replace a share of it."""

    crowd: Annotated[
        Share,
        Meta(
            description="Share of the votes of ten people for the image (FER+, Barsoum et al., arXiv:1608.01041),"
            " translated to FER2013's labels."
        ),
    ] = 0.0
    teacher: Annotated[
        Share, Meta(description="Share of a teacher's probabilities (distillation, Hinton et al., arXiv:1503.02531).")
    ] = 0.0
    teacher_labels: Annotated[
        str,
        Meta(
            description="File of the teacher's soft labels, written by `fer-edge data soft-labels`; relative to the"
            " current folder."
        ),
    ] = ""
    teacher_models: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description="Instead of `teacher_labels`: folders of runs or `.keras` files. These networks predict each"
            " augmented image in training, and their mean is used (Beyer et al., arXiv:2106.05237); this adds their"
            " time to each step."
        ),
    ] = ()
    teacher_mirrored: Annotated[
        bool,
        Meta(description="Average `teacher_models` over each image and its mirror image, which doubles their time."),
    ] = False
    teacher_from: Annotated[
        Count,
        Meta(
            description="First epoch (from 0) with the teacher; before it, label and crowd take its share in"
            " proportion."
        ),
    ] = 0

    def _check(self) -> None:
        require(
            self.crowd + self.teacher <= 1,
            f"crowd and teacher must not exceed 1 together, not {self.crowd:g} and {self.teacher:g}",
        )
        asked = bool(self.teacher_labels) + bool(self.teacher_models)
        require(
            asked == (self.teacher > 0),
            "teacher needs one of teacher_labels and teacher_models, and they need teacher above 0",
        )
        require(
            bool(self.teacher_models) or not self.teacher_mirrored,
            "teacher_mirrored needs teacher_models (fer-edge data soft-labels always averages over both)",
        )
        require(self.teacher > 0 or not self.teacher_from, "teacher_from needs a teacher")
        require(
            self.teacher < 1 or not self.teacher_from, "teacher_from leaves nothing to learn before it: teacher is 1"
        )

    def at(self, epoch: int) -> TargetSettings:
        """Return the settings of ``epoch`` (from 0), as settings for all epochs."""
        if epoch < self.teacher_from:
            # Rounded, so that it equals a recipe's decimals without a teacher.
            return TargetSettings(crowd=round(self.crowd / (1 - self.teacher), 9))
        return replace(self, teacher_from=0)
