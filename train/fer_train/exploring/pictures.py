"""The pictures of a survey: sheets of images and charts, each with its text for the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_edge.types import UInt8Array
from fer_train.exploring.extras import require
from fer_train.exploring.grids import Cell, Row, draw_grid
from fer_train.exploring.survey import Survey
from fer_train.splits import SPLIT_NAMES, TRAINING

FIXED = ("balance", "means", "brightness", "contrast", "near-duplicates", "conflicts")
"""Names of the pictures that are not about one class."""

_SAMPLES = 5, 12
"""Rows and columns of a class's sheet."""
_GROUPS_SHOWN = 12
_MEMBERS_SHOWN = 10
_SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A matplotlib ``figure`` with its ``heading`` and ``text`` for the page; ``name``: the file without extension."""

    name: str
    heading: str
    text: str
    figure: Any


def draw_survey(survey: Survey) -> Iterator[Picture]:
    """Yield all pictures of ``survey``, always the same for the same data."""
    yield Picture("balance", "Class balance", "Images of each class and split.", _balance(survey))
    yield from _samples(survey)
    yield Picture(
        "means",
        "Mean faces",
        "The mean of each class's Training images: position, margin and alignment of the faces.",
        _means(survey),
    )
    for value, text in (
        ("brightness", "Mean of an image's pixels. Splits that differ here have different sources."),
        ("contrast", "Standard deviation of an image's pixels; near 0 an image is blank."),
    ):
        yield Picture(value, value.capitalize(), text, _histogram(survey, value))
    if survey.near:
        yield Picture(
            "near-duplicates",
            "Near-duplicates",
            _groups_text(survey, survey.near, "of different images that look the same (by their perceptual hashes)"),
            _group_sheet(survey, survey.near),
        )
    if survey.conflicts:
        yield Picture(
            "conflicts",
            "Label conflicts",
            _groups_text(survey, survey.conflicts, "of equal images with different labels"),
            _group_sheet(survey, survey.conflicts),
        )


def to_gray_pixels(values: Any) -> UInt8Array:
    """Return floats 0..255 as uint8."""
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _balance(survey: Survey) -> Any:
    figure, axes = _chart(8.5, 0.9 + 0.5 * len(survey.dataset.labels))
    counts = survey.table.groupby(["label", "split"], observed=False).size().rename("images").reset_index()
    seaborn = require("seaborn")
    seaborn.barplot(counts, y="label", x="images", hue="split", ax=axes, palette="colorblind")
    for bars in axes.containers:
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2)
    seaborn.move_legend(axes, "lower center", bbox_to_anchor=(0.5, 1), ncol=len(SPLIT_NAMES), title=None, frameon=False)
    axes.set(ylabel="")
    axes.margins(x=0.1)
    return figure


def _samples(survey: Survey) -> Iterator[Picture]:
    rows, columns = _SAMPLES
    for number, label in enumerate(survey.dataset.labels):
        of_class = np.flatnonzero(
            (survey.table["label"] == label) & (survey.table["split"] == survey.dataset.shown(TRAINING))
        )
        if not len(of_class):
            continue
        random = np.random.default_rng([_SEED, number])
        chosen = np.sort(random.choice(of_class, min(rows * columns, len(of_class)), replace=False))
        cells = [Cell(survey.images[index]) for index in chosen]
        grid = draw_grid([Row(cells[at : at + columns]) for at in range(0, len(cells), columns)])
        text = f"{len(chosen)} of {len(of_class):,} Training images, drawn at random."
        yield Picture(f"samples-{number}-{file_name(label)}", f"Samples: {label}", text, grid)


def file_name(label: str) -> str:
    """Return ``label`` as a part of a file's name."""
    return "".join(character if character.isalnum() else "-" for character in label.lower())


def _means(survey: Survey) -> Any:
    cells = []
    for number, label in enumerate(survey.dataset.labels):
        split = survey.dataset.splits[TRAINING]
        of_class = split.images[split.labels == number]
        if len(of_class):
            cells.append(Cell(to_gray_pixels(of_class.mean(axis=0)), f"{label}\n{len(of_class):,} images"))
    return draw_grid([Row(cells[at : at + 8]) for at in range(0, len(cells), 8)])


def _histogram(survey: Survey, value: str) -> Any:
    labels, most = len(survey.dataset.labels), 255 if value == "brightness" else 128
    figure, (splits, classes) = _chart(11, max(3.2, 1.2 + 0.4 * labels), columns=2)
    seaborn = require("seaborn")
    dataset = survey.dataset
    present = [dataset.shown(name) for name in SPLIT_NAMES if len(dataset.splits[name])]
    seaborn.histplot(
        survey.table,
        x=value,
        hue="split",
        hue_order=present,
        stat="density",
        common_norm=False,
        element="step",
        fill=False,
        bins=np.linspace(0, most, 52),
        palette="colorblind",
        ax=splits,
    )
    # The location "best" compares all points of the lines, which is slow and causes a warning.
    seaborn.move_legend(splits, "lower center", bbox_to_anchor=(0.5, 1), ncol=len(present), title=None, frameon=False)
    limits = (-0.02 * most, 1.02 * most)
    splits.set(xlim=limits, xlabel=f"{value}, grey levels", ylabel="density")
    seaborn.boxplot(survey.table, x=value, y="label", ax=classes, fliersize=1.5, linewidth=1, color="#9ecae1")
    classes.set(title="by class", xlim=limits, xlabel=f"{value}, grey levels", ylabel="")
    return figure


def _group_sheet(survey: Survey, groups: Sequence[tuple[int, ...]]) -> Any:
    """Draw groups that cross splits first, then groups with different labels."""
    split, label = survey.table["split"].to_numpy(), survey.table["label"].to_numpy()
    row = survey.table["row"].to_numpy()

    def rank(group: tuple[int, ...]) -> tuple[bool, bool, tuple[int, ...]]:
        members = list(group)
        return len(set(split[members])) == 1, len(set(label[members])) == 1, group

    rows = []
    for number, group in enumerate(sorted(groups, key=rank)[:_GROUPS_SHOWN], 1):
        # Show one image of each split and label first: a long group would otherwise seem to be in only one.
        firsts = {(split[at], label[at]): at for at in reversed(group)}
        shown = sorted(sorted(group, key=lambda at: at not in firsts.values())[:_MEMBERS_SHOWN])
        cells = [Cell(survey.images[at], f"{label[at]}\n{split[at]}\n{row[at]}") for at in shown]
        more = f"\n+ {len(group) - len(shown)}" if len(group) > len(shown) else ""
        rows.append(Row(cells, f"{number}{more}"))
    return draw_grid(rows)


def _groups_text(survey: Survey, groups: tuple[tuple[int, ...], ...], what: str) -> str:
    disputed = survey.disputed(groups)
    return (
        f"{len(groups):,} groups {what}, {sum(map(len, groups)):,} images in all. {survey.spread(groups):,} groups "
        f"cross splits{f', {disputed:,} have different labels' if disputed < len(groups) else ''}. "
        f"Up to {_GROUPS_SHOWN} are shown, those that cross splits first, with label, split and row of each image."
    )


def _chart(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """Return a figure of this size in inches, with its axes side by side."""
    figure_type = require("matplotlib.figure").Figure
    figure = figure_type(figsize=(width, height), layout="constrained", dpi=110)
    return figure, figure.subplots(1, columns)
