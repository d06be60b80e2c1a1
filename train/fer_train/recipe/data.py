"""``[data]`` of a recipe: the sets of images to train on, and the names of their classes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fer_edge.model.labels import FER2013_LABELS
from fer_edge.settings.base import Settings, require
from fer_train.recipe.values import ImageSize, Positive
from fer_train.splits import OWN_SPLIT_NAMES, SPLIT_NAMES

SKIP = "skip"
"""Value in a set's ``classes`` that leaves the class out."""

SplitShare = Annotated[float, Meta(ge=0, lt=1)]


class SetSettings(Settings, frozen=True):
    """``[[data.sets]]``: one set of images."""

    path: Annotated[
        str,
        Meta(
            description="A folder of class folders, or FER2013 in any of its forms; relative to the current folder."
            " Empty: FER2013, at `--data` or in the default places."
        ),
    ] = ""
    weight: Annotated[
        Positive, Meta(description="Weight of each image of this set in the loss, relative to the other sets.")
    ] = 1.0
    classes: Annotated[
        dict[str, str],
        Meta(
            description='Label of each class that has another name in this set, as in `"Suprise" = "surprise"`;'
            ' `"skip"` leaves a class out.'
        ),
    ] = msgspec.field(default_factory=dict)
    layout: Annotated[
        Literal["folders", "raf-db", "affectnet"],
        Meta(
            description="Layout of `path`: class folders, or RAF-DB or AffectNet as published. Their classes have"
            ' names for `classes`, such as `{ contempt = "disgust" }`; contempt is left out if it is not a label.'
        ),
    ] = "folders"
    split: Annotated[
        Literal["auto", "given", "hash", "training"],
        Meta(
            description="Split into training, validation and test. `given`: by the folders `train`, `val` and `test`."
            " `hash`: by a hash of each image's pixels, so that equal images are in the same split, whatever their"
            " names or order. `training`: all images are for training. `auto`: `given` if there are such folders, else"
            " `hash`."
        ),
    ] = "auto"
    validation: Annotated[
        SplitShare,
        Meta(
            description="Share of the images that `hash` puts into the validation split, which selects the best epoch."
        ),
    ] = 0.1
    test: Annotated[
        SplitShare, Meta(description="Share of the images that `hash` puts into the test split, for final numbers.")
    ] = 0.1
    faces: Annotated[
        Literal["whole", "detect"],
        Meta(
            description="`whole`: the image is a face; its largest centred square is used. `detect`: the largest"
            " detected face is cropped as on the device."
        ),
    ] = "whole"
    no_face: Annotated[
        Literal["skip", "whole", "refuse"],
        Meta(
            description="What `detect` does with an image without a detected face: leave it out and count it, use the"
            " whole image, or stop."
        ),
    ] = "skip"
    skip_bad: Annotated[
        bool,
        Meta(
            description="Leave out and count images and rows that cannot be read, instead of stopping at the first one."
        ),
    ] = False
    votes: Annotated[
        Literal["none", "majority", "soft"],
        Meta(
            description="For FER2013: take the labels of Training from FER+ votes. `majority`: the answer with most"
            " votes, if it is a label. `soft`: the shares of the answers that are labels, if they are at least half of"
            " the votes. Other images are left out. Contempt is only a label if `labels` contains it or `classes` maps"
            " it."
        ),
    ] = "none"

    def _check(self) -> None:
        require(self.validation + self.test < 1, "validation and test must leave something to train on")


class DataSettings(Settings, frozen=True):
    """``[data]``: the images to train on. Without `sets`, this is FER2013."""

    labels: Annotated[
        Annotated[tuple[str, ...], Meta(min_length=2, max_length=100)],
        Meta(description="Classes of the model, in its order."),
    ] = FER2013_LABELS
    size: Annotated[
        ImageSize, Meta(description="Side in pixels to which all images are scaled: the input size of the model.")
    ] = 48
    sets: Annotated[tuple[SetSettings, ...], Meta(description="Sets of images, each with a different path.")] = ()

    @property
    def split_names(self) -> tuple[str, str, str]:
        """Names of the splits according to the recipe: FER2013's, unless a set has a path."""
        return OWN_SPLIT_NAMES if any(each.path for each in self.sets) else SPLIT_NAMES

    def _check(self) -> None:
        # Labels are also names of folders and files.
        named = all(re.fullmatch(r"\w[\w -]*", label) for label in self.labels)
        require(named, "labels must be words of letters, digits, blanks, - and _")
        require(SKIP not in self.labels, f"no label may be called {SKIP!r}, which leaves a class out")
        require(len(set(self.labels)) == len(self.labels), "labels must differ from each other")
        require(len({each.path for each in self.sets}) == len(self.sets), "sets must have different paths")
        for number, each in enumerate(self.sets):
            for name, label in each.classes.items():
                require(
                    label in (*self.labels, SKIP),
                    f"sets[{number}].classes: {name!r} is {label!r}, which is not a label; "
                    f"allowed: {', '.join(self.labels)}, or {SKIP} to leave it out",
                )
