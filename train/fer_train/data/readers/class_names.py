"""Which label each class of a data set is: by its name, by another usual name of it, or by the recipe's table."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from fer_edge.errors import InputError
from fer_train.recipe.data import SKIP

OTHER_NAMES = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""Usual names of FER2013's classes, beside its own."""

_MOST_LISTED = 50
"""More are no data set's classes, but the folders of something else."""


def label_of(name: str, labels: Sequence[str]) -> int | None:
    """The index of the label that ``name`` means without being told, in capitals or not; None where it means none."""
    lower = {_composed(label).lower(): index for index, label in enumerate(labels)}
    name = _composed(name).lower()
    return lower.get(name, lower.get(OTHER_NAMES.get(name, "")))


def _composed(name: str) -> str:
    """``name`` with each accent and its letter as one character: macOS keeps them apart in names of files."""
    return unicodedata.normalize("NFC", name)


def match_classes(
    names: Iterable[str], classes: Mapping[str, str], labels: Sequence[str], where: str
) -> dict[str, int | None]:
    """The index of each name's label, None for one to be left out; ``classes`` is the recipe's table.

    Raises InputError for names that mean no label, with what to write, and for entries of the table that name nothing.
    """
    found = sorted(set(names))
    told = {_composed(name): label for name, label in classes.items()}
    missing = sorted(set(told) - set(map(_composed, found)))
    if missing:
        raise InputError(
            f"{where}: its classes table names {_listed(missing)}, which it does not have; "
            f"its classes are {_listed(found)}"
        )
    matched: dict[str, int | None] = {}
    for name in found:
        label = told.get(_composed(name))
        matched[name] = label_of(name, labels) if label is None else None if label == SKIP else labels.index(label)
    unknown = [name for name in found if matched[name] is None and _composed(name) not in told]
    if unknown:
        # JSON's strings are TOML's too.
        entries = _listed([f'{json.dumps(name, ensure_ascii=False)} = "{_guess(name, labels)}"' for name in unknown])
        raise InputError(
            f"{where}: classes that are no label: {_listed(unknown)}; say what they are in the recipe's "
            f"[[data.sets]]: classes = {{ {entries} }} (labels: {', '.join(labels)}; {SKIP} leaves a class out)"
        )
    return matched


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def _guess(name: str, labels: Sequence[str]) -> str:
    """The label that ``name``, or a word of it, probably misspells; else ``SKIP``."""
    known = {known: index for known in (*labels, *OTHER_NAMES) if (index := label_of(known, labels)) is not None}
    for text in (name, *re.split(r"[\W_]+", name)):
        near = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.75)
        if near:
            return labels[known[near[0]]]
    return SKIP
