"""Accuracy in groups of images, such as age groups, that a CSV file names.

FER2013 has no labels of groups. Who has labels for these or other images can measure differences with them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_bench import metrics
from fer_bench.accuracy.evaluation import Evaluation, share
from fer_bench.extras import require
from fer_bench.results.accuracy import MIN_GROUP, AttributeResult, GroupResult
from fer_edge.errors import InputError
from fer_edge.system.files import read_regular
from fer_train.data.dataset import Dataset

MAX_GROUPS = 50
"""Groups of an attribute; more are a sign of a column with names or numbers."""
_MAX_FILE_BYTES = 64 << 20
_KEYS = ("split", "row")


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The group of each image by attribute and split: object arrays [N] of names, or None where it is unknown."""

    by_attribute: Mapping[str, Mapping[str, npt.NDArray[np.object_]]]


def read_groups(path: Path, dataset: Dataset) -> Groups:
    """Read the groups of the images of ``dataset`` from a CSV file.

    Its columns are ``split`` and ``row``, as ``fer-edge data audit --list`` writes them (``row`` counts from 0 within
    the split), and one for each attribute. An empty cell, or an image that is not listed, belongs to no group.

    Raises:
        InputError: If the file cannot be read, or a line of it is wrong; the message has its number.
    """
    try:
        text = read_regular(path, _MAX_FILE_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8; save it as CSV in UTF-8") from None
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        attributes = _attributes(path, header)
        names = {
            attribute: {split: np.full(len(part), None, object) for split, part in dataset.splits.items()}
            for attribute in attributes
        }
        seen: set[tuple[str, int]] = set()
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(header):
                raise InputError(f"{where}: {len(cells)} cells, but the header has {len(header)}")
            line = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            place = _image(where, line, dataset)
            if place in seen:
                raise InputError(f"{where}: row {place[1]} of {line['split']} is listed twice")
            seen.add(place)
            for attribute in attributes:
                names[attribute][place[0]][place[1]] = line[attribute] or None
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None
    for attribute, splits in names.items():
        found = {name for part in splits.values() for name in part if name is not None}
        if len(found) > MAX_GROUPS:
            raise InputError(
                f"{path}: {attribute} has {len(found)} groups, more than {MAX_GROUPS}; join values into ranges"
            )
    return Groups(names)


def _attributes(path: Path, header: list[str]) -> list[str]:
    missing = [key for key in _KEYS if key not in header]
    if missing:
        raise InputError(
            f"{path}: the header has no {' and no '.join(missing)}; it is split,row and a column for each attribute"
        )
    if len(set(header)) < len(header) or "" in header:
        raise InputError(f"{path}: a column of the header has no name, or that of another one")
    attributes = [name for name in header if name not in _KEYS]
    if not attributes:
        raise InputError(f"{path}: has no column with groups; add one for each attribute, such as age")
    return attributes


def _image(where: str, line: Mapping[str, str], dataset: Dataset) -> tuple[str, int]:
    """Return split and row of the image of ``line``."""
    try:
        split = dataset.find_split(line["split"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    count = len(dataset.splits[split])
    row = int(line["row"]) if line["row"].isascii() and line["row"].isdigit() and len(line["row"]) < 12 else count
    if row >= count:
        raise InputError(f"{where}: row {line['row']!r} of {line['split']}: must be from 0 to {count - 1}")
    return split, row


def by_group(evaluation: Evaluation, groups: Groups, split: str) -> tuple[AttributeResult, ...]:
    """Return the accuracy of ``evaluation`` on ``split`` in each group of ``MIN_GROUP`` images or more.

    p is that of a chi-squared test of equal accuracy in all groups (two groups: Fisher's exact test), adjusted for
    the number of attributes by Holm's method (1979). The difference of a group from all others together has Newcombe's
    95 % interval (1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I).
    """
    measured = [(name, *_of_attribute(evaluation, splits[split])) for name, splits in groups.by_attribute.items()]
    tested = [p for _, _, _, p in measured if p is not None]
    adjust = require("statsmodels.stats.multitest").multipletests
    adjusted: Iterator[float] = iter(adjust(tested, method="holm")[1].tolist() if tested else [])
    return tuple(
        AttributeResult(name, left_out, None if p is None else next(adjusted), found)
        for name, found, left_out, p in measured
    )


def _of_attribute(
    evaluation: Evaluation, names: npt.NDArray[np.object_]
) -> tuple[tuple[GroupResult, ...], int, float | None]:
    """Return the results of the groups that are large enough, the images left out, and p before its adjustment."""
    right = evaluation.predictions == evaluation.truth
    members = {name: names == name for name in sorted({name for name in names if name is not None})}
    large = {name: mask for name, mask in members.items() if int(mask.sum()) >= MIN_GROUP}
    known = np.logical_or.reduce(list(large.values())) if large else np.zeros(len(right), bool)
    found = tuple(
        _group(evaluation, name, mask, known & ~mask if len(large) > 1 else None) for name, mask in large.items()
    )
    return found, len(right) - int(known.sum()), _p_of_equal_accuracy([right[mask] for mask in large.values()])


def _group(
    evaluation: Evaluation, name: str, mask: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_] | None
) -> GroupResult:
    right = evaluation.predictions == evaluation.truth
    own = share(right[mask])
    assert own is not None  # a group has images
    change: tuple[float | None, float | None, float | None] = (None, None, None)
    if others is not None:
        rest = share(right[others])
        assert rest is not None
        interval = require("statsmodels.stats.proportion").confint_proportions_2indep(
            own.correct, own.n, rest.correct, rest.n, method="newcomb", compare="diff"
        )
        change = (own.accuracy - rest.accuracy, float(interval[0]), float(interval[1]))
    balanced = metrics.balanced_accuracy(evaluation.truth[mask], evaluation.predictions[mask])
    return GroupResult(name, own.n, own.correct, own.accuracy, own.low, own.high, balanced, *change)


def _p_of_equal_accuracy(parts: list[npt.NDArray[np.bool_]]) -> float | None:
    """Return p of a test that all ``parts`` have the same share of True; None for fewer than two parts."""
    if len(parts) < 2:
        return None
    table = np.array([[int(part.sum()), int((~part).sum())] for part in parts])
    if not table.sum(axis=0).all():  # all right, or all wrong
        return 1.0
    stats = require("scipy.stats")
    result = stats.fisher_exact(table) if len(parts) == 2 else stats.chi2_contingency(table, correction=False)
    return min(1.0, float(result.pvalue))
