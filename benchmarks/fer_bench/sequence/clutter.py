"""Backgrounds in which a cascade detects false faces: pages of text, foliage, bricks, checks and drawn faces.

They use only raw generator bits and exact arithmetic, as ``pipeline.raster`` does: the same bytes on every machine.
Sizes are shares of the picture's height. Each function draws on ``canvas``, float32 [H, W], in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fer_bench.pipeline.raster import random_shares, value_noise
from fer_edge.types import Float32Array

_GLYPH_ROWS, _GLYPH_COLUMNS = 7, 5
_GLYPHS = """
0E11111F111111 1E11111E11111E 0E11101010110E 1E11111111111E 1F10101E10101F 1F10101E101010 0E11101711110F
1111111F111111 0E04040404040E 0702020202120C 11121418141211 1010101010101F 111B1515111111 11191513111111
0E11111111110E 1E11111E101010 0E11111115120D 1E11111E141211 0F10100E01011E 1F040404040404 1111111111110E
11111111110A04 11111115151B11 11110A040A1111 11110A04040404 1F01020408101F 0E11131519110E 040C040404040E
0E11010204081F 1F02040201110E 02060A121F0202
"""
"""Letters and digits, seven bytes each: one for each row, whose five lowest bits are the columns."""


def draw_text(canvas: Float32Array, seed: Sequence[int]) -> None:
    """Draw sheets of paper, each with text of one size: letters of 7 to 42 pixels in a picture of 480 rows."""
    height, width = canvas.shape
    glyphs = _glyphs()
    for sheet, (x, y, paper, ink, size) in enumerate(_sheets((*seed, 1))):
        left, top = round(x * width), round(y * height)
        part = canvas[top : top + round(0.5 * height), left : left + round(0.36 * width)]
        part[:] = 170.0 + 75.0 * paper
        cell = max(1, round((1.0 + 5.0 * size * size) * height / 480))
        rows, columns = part.shape[0] // cell - 2, part.shape[1] // cell - 2
        page = np.zeros((rows, columns), np.float32)
        pitch = _GLYPH_ROWS + 3
        for line in range(rows // pitch):
            choices = random_shares((*seed, 2, sheet, line), columns // (_GLYPH_COLUMNS + 1) + 1)
            for place, share in enumerate(choices[:-1]):
                number = int(share * len(glyphs) * 1.2)  # one place in six is blank
                if number < len(glyphs) and place < 0.5 * len(choices) * (1.0 + choices[-1]):
                    at = place * (_GLYPH_COLUMNS + 1)
                    page[line * pitch : line * pitch + _GLYPH_ROWS, at : at + _GLYPH_COLUMNS] = glyphs[number]
        large = page.repeat(cell, axis=0).repeat(cell, axis=1)
        large[1:] = 0.5 * (large[1:] + large[:-1])  # a camera's lens softens the edges
        large[:, 1:] = 0.5 * (large[:, 1:] + large[:, :-1])
        inner = part[cell : cell + large.shape[0], cell : cell + large.shape[1]]
        inner += large * (20.0 + 60.0 * ink - inner)


def draw_foliage(canvas: Float32Array, seed: Sequence[int]) -> None:
    """Draw 1,500 overlapping leaves in many grays, each with a lit and a shaded half."""
    height, width = canvas.shape
    canvas[:] = 45.0
    count = 1500
    shares = np.array(random_shares((*seed, 3), 6 * count)).reshape(count, 6)
    for x, y, turn, size, gray, lit in shares.tolist():
        half = (0.012 + 0.05 * size * size) * height
        # Up to a half turn, by the tangent of half the angle; 0.5 is no rotation.
        t = 2.0 * turn - 1.0
        cosine, sine = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
        rows, columns = _around(canvas, x * width, y * height, half)
        across = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(x * width)
        down = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(y * height)
        along = (across * np.float32(cosine) + down * np.float32(sine)) / np.float32(half)
        aside = (down * np.float32(cosine) - across * np.float32(sine)) / np.float32(half)
        leaf = np.abs(aside) < np.float32(0.42) * (np.float32(1.0) - along * along)
        shade = np.float32(40.0 + 130.0 * gray) + np.float32(50.0 * lit) * (aside > 0)
        part = canvas[rows, columns]
        part[leaf] = shade[leaf]


def draw_bricks(canvas: Float32Array, seed: Sequence[int]) -> None:
    """Draw a wall of bricks in two sizes, with rough surfaces and light mortar."""
    height, width = canvas.shape
    for half, share in enumerate(random_shares((*seed, 4), 2)):
        part = canvas[:, half * width // 2 : (half + 1) * width // 2]
        course = round((0.045 + 0.05 * share) * height)
        brick, joint = round(2.6 * course), max(2, course // 7)
        across = -(-part.shape[1] // brick) + 2
        for line, top in enumerate(range(0, height, course)):
            greys = random_shares((*seed, 5, half, line), across)
            for place, gray in enumerate(greys):
                left = place * brick - (line % 2) * (brick // 2) - brick // 3
                rows = slice(top, top + course - joint)
                columns = slice(max(0, left), max(0, left + brick - joint))
                part[top : top + course, columns.start : columns.stop + joint] = 175.0
                part[rows, columns] = 60.0 + 75.0 * gray
    canvas += value_noise((*seed, 6), (60, 80), canvas.shape, 12.0)
    canvas += value_noise((*seed, 7), (120, 160), canvas.shape, 12.0)


def draw_checks(canvas: Float32Array, seed: Sequence[int]) -> None:
    """Draw chessboards and tablecloths: six fields of squares or crossing stripes, each of another size."""
    height, width = canvas.shape
    shares = random_shares((*seed, 8), 24)
    for field in range(6):
        size, dark, light, plain = shares[4 * field : 4 * field + 4]
        row, column = divmod(field, 3)
        part = canvas[row * height // 2 : (row + 1) * height // 2, column * width // 3 : (column + 1) * width // 3]
        square = max(3, round((0.012 + 0.06 * size) * height))
        down = (np.arange(part.shape[0]) // square % 2).astype(np.float32)[:, None]
        across = (np.arange(part.shape[1]) // square % 2).astype(np.float32)[None, :]
        cross = 0.5 * (down + across) if plain < 0.5 else np.abs(down - across)
        part[:] = 30.0 + 70.0 * dark + (100.0 + 50.0 * light) * cross
    canvas += value_noise((*seed, 9), (24, 32), canvas.shape, 10.0)


def draw_cartoons(canvas: Float32Array, seed: Sequence[int]) -> None:
    """Draw posters with faces of a few strokes, like those of children. They have no readable expression."""
    height, width = canvas.shape
    for sheet, (x, y, paper, ink, size) in enumerate(_sheets((*seed, 10))):
        left, top, side = round(x * width), round(y * height), round((0.24 + 0.16 * size) * height)
        part = canvas[top : top + side, left : left + side]
        part[:] = 170.0 + 75.0 * paper
        across = (np.arange(part.shape[1], dtype=np.float32)[None, :] + np.float32(0.5)) / np.float32(side)
        down = (np.arange(part.shape[0], dtype=np.float32)[:, None] + np.float32(0.5)) / np.float32(side)
        eye, brow, mouth, line, skin = random_shares((*seed, 11, sheet), 5)
        dark, pen = 20.0 + 70.0 * ink, 0.02 + 0.025 * line
        head = _radius(across, down, 0.5, 0.5, 0.36, 0.44)
        part[head < 1.0] = 140.0 + 90.0 * skin
        part[np.abs(head - 1.0) < 2.0 * pen] = dark
        for side_of in (-1.0, 1.0):
            middle = 0.5 + side_of * (0.13 + 0.04 * eye)
            part[_radius(across, down, middle, 0.42, 0.04 + 0.03 * eye, 0.03 + 0.04 * mouth) < 1.0] = dark
            above = 0.33 - 0.03 * brow + side_of * (brow - 0.5) * 0.4 * (across - middle)
            part[(np.abs(down - above) < pen) & (np.abs(across - middle) < 0.09)] = dark
        part[(np.abs(across - 0.5) < pen) & (np.abs(down - 0.54) < 0.07)] = dark
        curve = 0.7 + (mouth - 0.5) * 8.0 * ((across - 0.5) * (across - 0.5) - 0.012)
        part[(np.abs(down - curve) < pen) & (np.abs(across - 0.5) < 0.17)] = dark


CLUTTER: dict[str, Callable[[Float32Array, Sequence[int]], None]] = {
    "text": draw_text,
    "foliage": draw_foliage,
    "bricks": draw_bricks,
    "checks": draw_checks,
    "cartoons": draw_cartoons,
}
"""The functions that cover a sequence's wall, by name."""


def _glyphs() -> list[Float32Array]:
    bits = np.frombuffer(bytes.fromhex(_GLYPHS), np.uint8).reshape(-1, _GLYPH_ROWS)
    shifts = np.arange(_GLYPH_COLUMNS - 1, -1, -1, dtype=np.uint8)
    return list(((bits[:, :, None] >> shifts) & 1).astype(np.float32))


def _sheets(seed: Sequence[int]) -> list[list[float]]:
    """Return left and top of twelve sheets, as shares of the picture, and three more random shares of each."""
    shares = np.array(random_shares(seed, 12 * 5)).reshape(12, 5)
    for number, row in enumerate(shares):
        row[0] = (number % 4 + 0.6 * row[0]) / 4 - 0.05
        row[1] = (number // 4 + 0.6 * row[1]) / 3 - 0.05
    return np.maximum(shares, 0.0).tolist()  # type: ignore[no-any-return]


def _radius(
    across: Float32Array, down: Float32Array, x: float, y: float, half_width: float, half_height: float
) -> Float32Array:
    """Return the squared distance from (x, y) in half axes: below 1 inside the ellipse."""
    right, below = (across - np.float32(x)) / np.float32(half_width), (down - np.float32(y)) / np.float32(half_height)
    return np.asarray(right * right + below * below, dtype=np.float32)


def _around(canvas: Float32Array, x: float, y: float, half: float) -> tuple[slice, slice]:
    rows = slice(max(0, round(y - half)), max(0, round(y + half) + 1))
    columns = slice(max(0, round(x - half)), max(0, round(x + half) + 1))
    return slice(rows.start, min(rows.stop, canvas.shape[0])), slice(columns.start, min(columns.stop, canvas.shape[1]))
