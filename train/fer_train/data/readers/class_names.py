"""Match the classes of a data set to labels: by name, by another common name, or by the recipe's table."""

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
"""Other common names of FER2013's classes."""

_MAX_LISTED = 50
"""Maximum number of names in a message; a folder with more is probably not a data set."""


def label_of(name: str, labels: Sequence[str]) -> int | None:
    """Return the index of the label with the (other common) ``name``, in any case; None if there is none."""
    lower = {_composed(label).lower(): index for index, label in enumerate(labels)}
    name = _composed(name).lower()
    return lower.get(name, lower.get(OTHER_NAMES.get(name, "")))


def _composed(name: str) -> str:
    """Return ``name`` with each accented letter as one character: macOS separates them in names of files."""
    return unicodedata.normalize("NFC", name)


def match_classes(
    names: Iterable[str], classes: Mapping[str, str], labels: Sequence[str], where: str
) -> dict[str, int | None]:
    """Return the index of each name's label, None for a class to leave out; ``classes`` is the recipe's table.

    Raises:
        InputError: if a name has no label, with the table to write; or if the table contains a name that is not used.
    """
    found = sorted(set(names))
    mapped = {_composed(name): label for name, label in classes.items()}
    missing = sorted(set(mapped) - set(map(_composed, found)))
    if missing:
        raise InputError(
            f"{where}: its classes table names {_listed(missing)}, which it does not have; "
            f"its classes are {_listed(found)}"
        )
    matched: dict[str, int | None] = {}
    for name in found:
        label = mapped.get(_composed(name))
        matched[name] = label_of(name, labels) if label is None else None if label == SKIP else labels.index(label)
    unknown = [name for name in found if matched[name] is None and _composed(name) not in mapped]
    if unknown:
        # JSON's strings are TOML's too.
        entries = _listed([f'{json.dumps(name, ensure_ascii=False)} = "{_guess(name, labels)}"' for name in unknown])
        raise InputError(
            f"{where}: classes that are not labels: {_listed(unknown)}; map them in the recipe's "
            f"[[data.sets]]: classes = {{ {entries} }} (labels: {', '.join(labels)}; {SKIP} leaves a class out)"
        )
    return matched


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def _guess(name: str, labels: Sequence[str]) -> str:
    """Return the label that ``name`` or a word of it probably misspells; else ``SKIP``."""
    known = {known: index for known in (*labels, *OTHER_NAMES) if (index := label_of(known, labels)) is not None}
    for text in (name, *re.split(r"[\W_]+", name)):
        near = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.75)
        if near:
            return labels[known[near[0]]]
    return SKIP
