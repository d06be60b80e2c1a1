"""``[data]`` of a recipe: which sets of images to train on, and what their classes are called."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fer_edge.model.labels import FER2013_LABELS
from fer_edge.settings.base import Settings, require
from fer_train.data.samples import OWN_SPLIT_NAMES, SPLIT_NAMES

SKIP = "skip"
"""In a set's ``classes``: this class is left out."""
MAX_FLOAT = sys.float_info.max
"""Bound of numbers that have no other: it keeps infinity out."""

ImageSize = Annotated[int, Meta(ge=16, le=512)]
Positive = Annotated[float, Meta(gt=0, le=MAX_FLOAT, extra={"allowed": "a finite number above 0"})]
SplitShare = Annotated[float, Meta(ge=0, lt=1)]


class SetSettings(Settings, frozen=True):
    """``[[data.sets]]``: one set of images."""

    path: str = ""
    """A folder of class folders, or FER2013 in any of its forms; relative to the current folder. Empty: FER2013, where
    ``--data`` says or the project looks for it."""
    weight: Positive = 1.0
    """What an image of this set counts in the loss, against those of the other sets."""
    classes: dict[str, str] = msgspec.field(default_factory=dict)
    """The label of each class that the set calls otherwise, as in ``"Suprise" = "surprise"``; "skip" leaves one out."""
    layout: Literal["folders", "raf-db", "affectnet"] = "folders"
    """How ``path`` is laid out: as class folders, or as RAF-DB or AffectNet are published (``readers/published.py``).
    Their classes are told by name: ``classes = { contempt = "disgust" }``; contempt is left out if it is no label."""
    split: Literal["auto", "given", "hash", "training"] = "auto"
    """What is tested on. ``given``: the folders ``train``, ``val`` and ``test`` say it. ``hash``: each image's pixels
    do, so that equal images keep together and nothing depends on names or order. ``training``: nothing, all is trained
    on. ``auto``: as given where there are such folders, else by hash."""
    validation: SplitShare = 0.1
    """Share of the images that ``hash`` puts into the validation split, by which the best epoch is chosen."""
    test: SplitShare = 0.1
    """Share of the images that ``hash`` puts into the test split, which is for final numbers."""
    faces: Literal["whole", "detect"] = "whole"
    """``whole``: the image is a face; its largest square about the middle is taken. ``detect``: the largest face in it
    is looked for and cut out as the device does."""
    no_face: Literal["skip", "whole", "refuse"] = "skip"
    """What ``detect`` does with an image in which it finds no face: leave it out and count it, take the whole, stop."""
    skip_bad: bool = False
    """Leave out images and rows that cannot be read, and count them, instead of stopping at the first."""
    votes: Literal["none", "majority", "soft"] = "none"
    """For FER2013: the labels of Training come from FER+'s votes. ``majority``: the answer with most votes, if it names
    a label; ``soft``: the shares of the answers that name one, where they are half of the votes or more. Other images
    are left out. Contempt names no label unless ``labels`` has it or ``classes`` says what it is."""

    def _check(self) -> None:
        require(self.validation + self.test < 1, "validation and test must leave something to train on")


class DataSettings(Settings, frozen=True):
    """What is trained on. Without ``sets`` it is FER2013 alone."""

    labels: Annotated[tuple[str, ...], Meta(min_length=2, max_length=100)] = FER2013_LABELS
    """The classes of the model, in its order."""
    size: ImageSize = 48
    """Side in pixels to which all images are brought: the input of the model."""
    sets: tuple[SetSettings, ...] = ()
    """The sets, one after the other; each may be there once."""

    @property
    def split_names(self) -> tuple[str, str, str]:
        """What the splits are called, as far as the recipe says: FER2013's names where it names no folder or file."""
        return OWN_SPLIT_NAMES if any(each.path for each in self.sets) else SPLIT_NAMES

    def _check(self) -> None:
        # They name folders and files too.
        named = all(re.fullmatch(r"\w[\w -]*", label) for label in self.labels)
        require(named, "labels must be words of letters, digits, blanks, - and _")
        require(SKIP not in self.labels, f"no label may be called {SKIP!r}, which leaves a class out")
        require(len(set(self.labels)) == len(self.labels), "labels must differ from each other")
        require(len({each.path for each in self.sets}) == len(self.sets), "sets must have different paths")
        for number, each in enumerate(self.sets):
            for name, label in each.classes.items():
                require(
                    label in (*self.labels, SKIP),
                    f"sets[{number}].classes: {name!r} is {label!r}, which is no label; "
                    f"allowed: {', '.join(self.labels)}, or {SKIP} to leave it out",
                )
