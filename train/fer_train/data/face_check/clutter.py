"""Pictures without a face in which a cascade detects some: text, plants, walls, furniture, patterns, cartoons.

Every function takes a random generator and (width, height); it returns a grey picture, float32 [height, width], 0..255.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_edge.types import Float32Array

Size = tuple[int, int]
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;!?&%$#@()[]{}/*+-=äöüßéñαβγδЖФЯ"


def clutter_picture(random: np.random.Generator, size: Size) -> Float32Array:
    """Return a picture of a random kind, or of two kinds side by side or blended, under uneven light."""
    picture = _draw(random, size)
    chance = random.random()
    if chance < 0.25:
        picture = 0.5 * (picture + _draw(random, size))
    elif chance < 0.5:
        other, (width, height) = _draw(random, size), size
        left, top = int(random.integers(0, width)), int(random.integers(0, height))
        picture[top:, left:] = other[top:, left:]
    if random.random() < 0.5:
        picture = picture + random.uniform(3, 30) * _octaves(random, size, random.uniform(0.6, 1.2))
    if random.random() < 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), random.uniform(0.5, 2.5)), dtype=np.float32)
    if random.random() < 0.4:
        picture = _turned(random, picture)
    return np.asarray(np.clip(picture * _light(random, size), 0, 255), dtype=np.float32)


def _draw(random: np.random.Generator, size: Size) -> Float32Array:
    return KINDS[int(random.integers(len(KINDS)))](random, size)


def text(random: np.random.Generator, size: Size) -> Float32Array:
    """Sheets with lines of text in many typefaces and sizes, and lines of pen strokes."""
    from PIL import Image, ImageDraw

    width, height = size
    page = Image.new("L", size, int(random.integers(0, 256)))
    draw = ImageDraw.Draw(page)
    for _ in range(int(random.integers(1, 7))):
        left, top = int(random.integers(-60, width)), int(random.integers(-60, height))
        right, bottom = left + int(random.integers(80, width)), top + int(random.integers(60, height))
        paper, ink = (int(level) for level in random.integers(0, 256, 2))
        draw.rectangle((left, top, right, bottom), fill=paper)
        side = int(np.exp(random.uniform(np.log(6), np.log(110))))
        font = _font(int(random.integers(10**6)), side)
        spacing = random.uniform(0.8, 1.9) * side
        for line in range(max(1, int((bottom - top) / spacing))):
            draw.text((left + 4, top + line * spacing), _words(random, 90), font=font, fill=ink)
    return np.asarray(page, dtype=np.float32).copy()


def foliage(random: np.random.Generator, size: Size) -> Float32Array:
    """Hundreds of leaves, needles, petals or pebbles over each other."""
    width, height = size
    picture = np.full((height, width), random.uniform(0, 120), np.float32)
    slim, largest = random.uniform(0.1, 1.0), np.exp(random.uniform(np.log(5), np.log(60)))
    low, high = sorted(random.uniform(0, 255, 2))
    for _ in range(int(min(3000, 8 * width * height / largest**2))):
        centre = int(random.integers(width)), int(random.integers(height))
        axes = max(1, int(largest * random.uniform(0.3, 1))), max(1, int(largest * slim * random.uniform(0.3, 1)))
        shade, turn = random.uniform(low, high), random.uniform(0, 360)
        cv2.ellipse(picture, centre, axes, turn, 0, 360, shade, -1, cv2.LINE_AA)
        if random.random() < 0.4:
            cv2.ellipse(picture, centre, axes, turn, 0, 180, shade * 0.75, -1, cv2.LINE_AA)
    return picture


def bricks(random: np.random.Generator, size: Size) -> Float32Array:
    """Courses of bricks, tiles, planks or keys, in a bond or in line."""
    width, height = size
    picture = np.full((height, width), random.uniform(20, 230), np.float32)
    course = np.exp(random.uniform(np.log(8), np.log(90)))
    brick, joint = course * random.uniform(0.6, 5), max(1.0, course * random.uniform(0.03, 0.3))
    offset, base, spread = random.choice((0.0, 0.5, random.random())), random.uniform(30, 220), random.uniform(0, 60)
    for line in range(int(height / course) + 1):
        for place in range(-1, int(width / brick) + 2):
            left, top = (place + offset * (line % 2)) * brick, line * course
            corners = (int(left), int(top)), (int(left + brick - joint), int(top + course - joint))
            cv2.rectangle(picture, *corners, base + spread * random.standard_normal(), -1)
            if random.random() < 0.1:  # a key's letter, a tile's mark, a knot
                cv2.circle(picture, (int(left + brick / 2), int(top + course / 2)), int(course / 6) + 1, base / 2, -1)
    return picture


def checks(random: np.random.Generator, size: Size) -> Float32Array:
    """Fields of squares, stripes, crossing stripes or dots."""
    width, height = size
    picture = np.empty((height, width), np.float32)
    across, down = int(random.integers(1, 5)), int(random.integers(1, 4))
    for row in range(down):
        for column in range(across):
            rows = slice(row * height // down, (row + 1) * height // down)
            part = picture[rows, column * width // across : (column + 1) * width // across]
            part[:] = _pattern(random, part.shape)
    return picture


def furniture(random: np.random.Generator, size: Size) -> Float32Array:
    """Shelves with books, windows, screens, boxes, lamps and people's silhouettes without a face."""
    width, height = size
    picture = np.full((height, width), random.uniform(40, 220), np.float32)
    for _ in range(int(random.integers(5, 60))):
        x, y = int(random.integers(-40, width)), int(random.integers(-40, height))
        wide, high = (int(np.exp(random.uniform(np.log(6), np.log(220)))) for _ in range(2))
        shade, line = random.uniform(0, 255, 2)
        kind = random.random()
        if kind < 0.55:
            cv2.rectangle(picture, (x, y), (x + wide, y + high), shade, -1)
            if random.random() < 0.6:
                cv2.rectangle(picture, (x, y), (x + wide, y + high), line, int(random.integers(1, 8)))
            for part in range(int(random.integers(0, 6))):  # drawers, panes, the backs of books
                if random.random() < 0.5:
                    at = x + wide * part // 6
                    cv2.line(picture, (at, y), (at, y + high), line, int(random.integers(1, 5)))
                else:
                    at = y + high * part // 6
                    cv2.line(picture, (x, at), (x + wide, at), line, int(random.integers(1, 5)))
        elif kind < 0.8:
            axes, fill = (max(1, wide // 2), max(1, high // 2)), -1 if random.random() < 0.6 else 3
            cv2.ellipse(picture, (x, y), axes, random.uniform(0, 180), 0, 360, shade, fill, cv2.LINE_AA)
        elif kind < 0.9:
            cv2.line(picture, (x, y), (x + 2 * wide, y + high), shade, int(random.integers(1, 12)), cv2.LINE_AA)
        else:  # a head and shoulders, dark, from behind
            cv2.ellipse(picture, (x, y), (wide // 4 + 4, wide // 3 + 5), 0, 0, 360, shade / 2, -1, cv2.LINE_AA)
            cv2.ellipse(picture, (x, y + wide), (wide // 2 + 9, wide // 2 + 9), 0, 180, 360, shade / 2, -1, cv2.LINE_AA)
    return picture


def cartoons(random: np.random.Generator, size: Size) -> Float32Array:
    """Faces of a few strokes, as in signs, toys and children's drawings; also the "faces" of cars and sockets."""
    width, height = size
    picture = _octaves(random, size, 1.0) * random.uniform(2, 40) + random.uniform(60, 220)
    for _ in range(int(random.integers(2, 16))):
        side = np.exp(random.uniform(np.log(30), np.log(260)))
        x, y = random.uniform(0, width), random.uniform(0, height)
        _cartoon(random, picture, (x, y), side)
    return picture


def noise(random: np.random.Generator, size: Size) -> Float32Array:
    """Clouds, plaster, cloth and carpets: noise with any share of fine detail."""
    strength = random.uniform(8, 60)
    return np.asarray(random.uniform(60, 190) + strength * _octaves(random, size, random.uniform(0.2, 1.5)), np.float32)


def photograph(random: np.random.Generator, size: Size) -> Float32Array:
    """A part of scikit-learn's photograph of a temple (no person in it), in any size and turn."""
    whole = _temple()
    zoom = np.exp(random.uniform(np.log(0.6), np.log(3)))
    width, height = (min(have, max(24, int(side / zoom))) for have, side in zip(whole.shape[::-1], size, strict=True))
    left, top = int(random.integers(whole.shape[1] - width + 1)), int(random.integers(whole.shape[0] - height + 1))
    part = cv2.resize(whole[top : top + height, left : left + width], size, interpolation=cv2.INTER_CUBIC)
    part = part[::-1] if random.random() < 0.25 else part
    return np.asarray(part[:, ::-1] if random.random() < 0.5 else part, dtype=np.float32).copy()


KINDS: tuple[Callable[[np.random.Generator, Size], Float32Array], ...] = (
    text, text, foliage, bricks, checks, furniture, furniture, cartoons, cartoons, noise, photograph, photograph,
)  # fmt: skip
"""The kinds of pictures; one that is listed twice is drawn twice as often."""


def _cartoon(random: np.random.Generator, picture: Float32Array, centre: tuple[float, float], side: float) -> None:
    x, y = centre
    dark, skin, paper = random.uniform(0, 110), random.uniform(100, 255), random.uniform(80, 255)
    if random.random() < 0.2:
        dark, skin = skin, dark  # white on black
    pen = max(1, int(side * random.uniform(0.01, 0.06)))

    def at(across: float, down: float) -> tuple[int, int]:
        return int(x + across * side), int(y + down * side)

    def oval(place: tuple[int, int], wide: float, high: float, shade: float, thickness: int) -> None:
        axes = max(1, int(wide * side)), max(1, int(high * side))
        cv2.ellipse(picture, place, axes, 0, 0, 360, shade, thickness, cv2.LINE_AA)

    if random.random() < 0.5:
        cv2.rectangle(picture, at(-0.62, -0.62), at(0.62, 0.62), paper, -1)
    wide, high = random.uniform(0.33, 0.52), random.uniform(0.36, 0.58)
    if random.random() < 0.85:
        oval(at(0, 0), wide, high, skin, -1)
    if random.random() < 0.8:
        oval(at(0, 0), wide, high, dark, pen)
    apart, level, eye = random.uniform(0.1, 0.22), random.uniform(-0.2, 0.0), random.uniform(0.02, 0.1)
    tall, lids, brows = random.uniform(0.5, 1.8), random.random(), random.random()
    slant = random.uniform(-0.08, 0.08)
    for side_of in (-1.0, 1.0):
        place = at(side_of * apart, level)
        if lids < 0.3:
            oval(place, 1.6 * eye, 1.2 * eye, 255.0 - dark, -1)
            oval(place, 1.6 * eye, 1.2 * eye, dark, max(1, pen // 2))
        oval(place, eye, eye * tall, dark, -1)
        if brows < 0.6:
            lift = level - random.uniform(0.08, 0.16)
            ends = at(side_of * (apart - 0.08), lift + slant), at(side_of * (apart + 0.08), lift - slant)
            cv2.line(picture, *ends, dark, pen, cv2.LINE_AA)
    if random.random() < 0.7:
        cv2.line(picture, at(0, level + 0.06), at(random.uniform(-0.06, 0.06), level + 0.24), dark, pen, cv2.LINE_AA)
    mouth, open_by = random.uniform(0.15, 0.34), random.uniform(0.0, 0.14)
    if random.random() < 0.3:
        oval(at(0, mouth), random.uniform(0.05, 0.2), open_by + 0.01, dark, -1)
    else:
        start = 0 if random.random() < 0.5 else 180
        axes = max(1, int(random.uniform(0.08, 0.26) * side)), max(1, int(open_by * side))
        cv2.ellipse(picture, at(0, mouth), axes, 0, start, start + 180, dark, pen, cv2.LINE_AA)


def _pattern(random: np.random.Generator, shape: tuple[int, int]) -> Float32Array:
    square = np.exp(random.uniform(np.log(2), np.log(70)))
    light, dark = random.uniform(0, 255, 2)
    angle = random.choice((0.0, 0.0, random.uniform(0, np.pi)))
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    along, aside = columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle)
    one, other = along / square % 2 < 1, aside / (square * random.uniform(0.5, 2)) % 2 < 1
    kind = random.integers(4)
    if kind == 0:
        share = (one ^ other).astype(np.float32)
    elif kind == 1:
        share = 0.5 * (one.astype(np.float32) + other)
    elif kind == 2:
        share = one.astype(np.float32)
    else:
        from_middle = np.hypot(along % (2 * square) - square, aside % (2 * square) - square)
        share = (from_middle < 0.6 * square).astype(np.float32)
    return np.asarray(dark + (light - dark) * share, dtype=np.float32)


def _octaves(random: np.random.Generator, size: Size, fall: float) -> Float32Array:
    """Noise of standard deviation about 1; the finer octaves have ``2 ** -fall`` of the amplitude of the next."""
    width, height = size
    total = np.zeros((height, width), np.float32)
    cells, strength = 3, 1.0
    while cells < height:
        lattice = random.standard_normal((cells, cells * 4 // 3)).astype(np.float32)
        total += strength * cv2.resize(lattice, size, interpolation=cv2.INTER_CUBIC)
        cells, strength = cells * 2, strength * 2.0**-fall
    return np.asarray(total / max(1e-6, float(total.std())), dtype=np.float32)


def _turned(random: np.random.Generator, picture: Float32Array) -> Float32Array:
    """Return the picture rotated by up to 30 degrees, and in perspective."""
    height, width = picture.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(-30, 30), random.uniform(1.0, 1.4))
    moved = corners @ turn[:, :2].T + turn[:, 2] + random.uniform(-0.1, 0.1, (4, 2)) * (width, height)
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    turned = cv2.warpPerspective(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, dtype=np.float32)


def _light(random: np.random.Generator, size: Size) -> Float32Array:
    width, height = size
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :] * random.uniform(-0.6, 0.6)
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * random.uniform(-0.6, 0.6)
    level = random.choice((1.0, 1.0, random.uniform(0.25, 1.0)))
    return np.asarray(level * (1 + across + down), dtype=np.float32)


@lru_cache(maxsize=1)
def _font_files() -> list[Path]:
    import matplotlib

    return sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))


@lru_cache(maxsize=512)
def _font(number: int, side: int) -> Any:
    from PIL import ImageFont

    files = _font_files()
    # Raqm, the default, is used only where the system has FriBidi: pages would differ between machines.
    return ImageFont.truetype(str(files[number % len(files)]), side, layout_engine=ImageFont.Layout.BASIC)


def _words(random: np.random.Generator, count: int) -> str:
    letters = random.integers(0, len(_LETTERS), count)
    blanks = random.random(count) < 0.16
    return "".join(" " if blank else _LETTERS[letter] for letter, blank in zip(letters, blanks, strict=True))


@lru_cache(maxsize=1)
def _temple() -> Float32Array:
    from sklearn.datasets import load_sample_image

    return np.asarray(cv2.cvtColor(load_sample_image("china.jpg"), cv2.COLOR_RGB2GRAY), dtype=np.float32)
