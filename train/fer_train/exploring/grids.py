"""Sheets of captioned images, drawn by matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_edge.images.resample import resample
from fer_edge.types import UInt8Array
from fer_train.exploring.extras import require

_SIDE = 96
"""Side of a drawn image in pixels of the PNG; FER2013's are enlarged twice."""
_GAP = 8
_LINE = 17
"""Height in pixels of a line of text of ``_POINTS``."""
_POINTS = 8
_DPI = 110
_CHARACTER = 7.5
"""Width in pixels of an average letter of a title."""
_LETTERS = 15
"""Number of letters of a caption that are as wide as its image."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """An image, uint8 [H, W], and its caption below; long lines are broken."""

    image: UInt8Array
    caption: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Cells side by side, with a title on the left."""

    cells: Sequence[Cell]
    title: str = ""


def draw_grid(rows: Sequence[Row]) -> Any:
    """Return a matplotlib figure of ``rows``, one below the other."""
    left = max((_text_width(row.title) for row in rows), default=0)
    captions = [[_broken(cell.caption) for cell in row.cells] for row in rows]
    heights = [_SIDE + _GAP + _LINE * max(map(len, lines)) for lines in captions]
    width = left + max(len(row.cells) for row in rows) * (_SIDE + _GAP) + _GAP
    height = sum(heights) + _GAP
    figure_type = require("matplotlib.figure").Figure
    figure = figure_type(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    canvas = np.full((height, width), 255, np.uint8)
    y = _GAP
    for row, lines, row_height in zip(rows, captions, heights, strict=True):
        axes.text(_GAP, y + _SIDE / 2, row.title, fontsize=_POINTS + 1, va="center", ha="left")
        for number, cell in enumerate(row.cells):
            x = left + _GAP + number * (_SIDE + _GAP)
            canvas[y : y + _SIDE, x : x + _SIDE] = _enlarged(cell.image)
            axes.text(x + _SIDE / 2, y + _SIDE + 3, "\n".join(lines[number]), fontsize=_POINTS, va="top", ha="center")
        y += row_height
    axes.imshow(
        canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=(0.0, float(width), float(height), 0.0)
    )
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _enlarged(image: UInt8Array) -> UInt8Array:
    """Return the image at ``_SIDE``, with each pixel repeated if the factor is a whole number."""
    times, rest = divmod(_SIDE, image.shape[0])
    if times and not rest and image.shape[0] == image.shape[1]:
        return np.kron(image, np.ones((times, times), np.uint8))
    return resample(image, _SIDE, _SIDE)


def _broken(text: str) -> list[str]:
    """Return the lines of a caption, none wider than its image."""
    return [part for line in text.split("\n") for part in textwrap.wrap(line, _LETTERS)]


def _text_width(text: str) -> int:
    longest = max((len(line) for line in text.split("\n")), default=0)
    return round(longest * _CHARACTER) + 2 * _GAP if longest else 0
