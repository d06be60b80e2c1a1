"""Draw a face with any expression, for the scene ``demo:emotions``: vector shapes, so no real person is shown."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.types import Float64Array, UInt8Array

SIDE_PX = 240
"""Width and height of the drawing; all coordinates are in its pixels."""
_SCALE = 3
"""The drawing is made this much larger and reduced, for smooth edges."""
_LEFT_AND_RIGHT = (-1, 1)
_MIDDLE_X = 120

Colour = tuple[int, int, int]
# BGR.
WALL: Colour = (178, 164, 150)
_SKIN: Colour = (150, 185, 232)
_SHADE: Colour = (120, 155, 208)
_CREASE: Colour = (95, 125, 180)
_HAIR: Colour = (30, 42, 60)
_SHIRT: Colour = (110, 80, 50)
_UPPER_LIP: Colour = (105, 105, 185)
_LOWER_LIP: Colour = (120, 120, 200)
_INSIDE_OF_MOUTH: Colour = (30, 20, 60)
_TEETH: Colour = (240, 243, 245)
_EYEBALL: Colour = (235, 238, 240)
_IRIS: Colour = (70, 85, 60)
_LASHES: Colour = (25, 30, 40)


class Expression(NamedTuple):
    """Positions of the movable parts, in pixels away from those of a face at rest; y grows downwards.

    Attributes:
        brow_inner, brow_outer, brow_middle: How much lower parts of the eyebrows are.
        lid: Opening of the upper eyelid, 1 at rest.
        cheek: How far the lower eyelid is raised, 0 to 1.
        corners: How much higher the corners of the mouth are.
        width: By how much half the mouth is wider.
        jaw: How far the mouth is open.
        teeth: Height of the teeth that show.
        upper_lip: How much higher the upper lip is.
        folds: Strength of the folds between nose and mouth, 0 to 1.
    """

    brow_inner: float = 0.0
    brow_outer: float = 0.0
    brow_middle: float = 0.0
    lid: float = 1.0
    cheek: float = 0.0
    corners: float = 0.0
    width: float = 0.0
    jaw: float = 0.0
    teeth: float = 0.0
    upper_lip: float = 0.0
    folds: float = 0.0

    def towards(self, other: Expression, share: float) -> Expression:
        """Return the expression that is ``share`` (0 to 1) of the way to ``other``."""
        return Expression(*(own + share * (its - own) for own, its in zip(self, other, strict=True)))


class DrawnFace:
    """Head and shoulders of a person; ``alpha``, float32 [240, 240], is 1 inside the outline and 0 outside."""

    def __init__(self) -> None:
        self._head = _Canvas(WALL)
        _draw_head(self._head, plain=False)
        outline = _Canvas((0, 0, 0))
        _draw_head(outline, plain=True)
        self.alpha = np.asarray(outline.reduced()[..., 0] / np.float32(255), np.float32)

    def draw(self, expression: Expression) -> UInt8Array:
        """Return the face with ``expression``, uint8 [240, 240, 3] (BGR)."""
        canvas = deepcopy(self._head)
        for side in _LEFT_AND_RIGHT:
            _draw_eye(canvas, side, expression)
            _draw_eyebrow(canvas, side, expression)
            _draw_fold(canvas, side, expression)
        _draw_mouth(canvas, expression)
        return canvas.reduced()


class _Canvas:
    """A picture with drawing functions whose coordinates are in pixels of the reduced picture."""

    def __init__(self, colour: Colour) -> None:
        self.pixels = np.full((SIDE_PX * _SCALE, SIDE_PX * _SCALE, 3), colour, np.uint8)

    def reduced(self) -> UInt8Array:
        return np.asarray(cv2.resize(self.pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)

    def area(self, points: npt.ArrayLike, colour: Colour) -> None:
        cv2.fillPoly(self.pixels, [_scaled(points)], colour, cv2.LINE_AA)

    def line(self, points: npt.ArrayLike, colour: Colour, width: float) -> None:
        cv2.polylines(self.pixels, [_scaled(points)], False, colour, max(1, round(width * _SCALE)), cv2.LINE_AA)

    def ellipse(self, centre: tuple[float, float], radii: tuple[float, float], colour: Colour) -> None:
        x, y = (round(value * _SCALE) for value in centre)
        axes = round(radii[0] * _SCALE), round(radii[1] * _SCALE)
        cv2.ellipse(self.pixels, (x, y), axes, 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)

    def darken(self, shapes: Sequence[tuple[Float64Array, float]], blur_px: float) -> None:
        """Darken areas with soft edges by their strengths, 0 to 1."""
        shadow = np.zeros(self.pixels.shape[:2], np.float32)
        for points, strength in shapes:
            cv2.fillPoly(shadow, [_scaled(points)], strength)
        shadow = np.asarray(cv2.GaussianBlur(shadow, (0, 0), blur_px * _SCALE), np.float32)
        self.pixels = np.asarray(self.pixels * (1 - shadow[..., None] / 2), np.uint8)

    def inside(self, points: Float64Array, other: _Canvas) -> None:
        """Copy the area of ``points`` from ``other``."""
        x, y, width, height = cv2.boundingRect(_scaled(points))
        part = slice(y, y + height), slice(x, x + width)
        mask = np.zeros(self.pixels.shape[:2], np.uint8)
        cv2.fillPoly(mask, [_scaled(points)], 255, cv2.LINE_AA)
        share = mask[part][..., None] / np.float32(255)
        self.pixels[part] = self.pixels[part] * (1 - share) + other.pixels[part] * share


def _scaled(points: npt.ArrayLike) -> npt.NDArray[np.int32]:
    return np.rint(np.asarray(points, np.float64) * _SCALE).astype(np.int32)


def _curve(*points: tuple[float, float]) -> Float64Array:
    """Return a smooth curve through ``points``, float64 [n, 2]: a Catmull-Rom spline."""
    given = np.asarray(points, np.float64)
    given = np.vstack([2 * given[0] - given[1], given, 2 * given[-1] - given[-2]])
    t = np.linspace(0, 1, 24)[:, None]
    pieces = []
    for before, start, end, after in zip(given, given[1:], given[2:], given[3:], strict=False):
        linear, square = end - before, 2 * before - 5 * start + 4 * end - after
        pieces.append((2 * start + linear * t + square * t**2 + (3 * start - before - 3 * end + after) * t**3) / 2)
    return np.vstack(pieces)


def _ring(centre: tuple[float, float], radii: tuple[float, float]) -> Float64Array:
    angle = np.linspace(0, 2 * np.pi, 40)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


def _draw_head(canvas: _Canvas, *, plain: bool) -> None:
    """Draw the parts that do not move, or only their outline in white."""

    def paint(colour: Colour) -> Colour:
        return (255, 255, 255) if plain else colour

    canvas.ellipse((120, 100), (72, 80), paint(_HAIR))
    canvas.area([(98, 170), (142, 170), (146, 240), (94, 240)], paint(_SHADE))
    canvas.area(_curve((10, 240), (60, 212), (98, 200), (120, 214), (142, 200), (180, 212), (230, 240)), paint(_SHIRT))
    for x in (58, 182):
        canvas.ellipse((x, 118), (9, 17), paint(_SHADE))
    left = ((60, 95), (61, 125), (68, 155), (88, 183), (120, 199))
    right = ((152, 183), (172, 155), (179, 125), (180, 95))
    canvas.area(_curve(*left, *right, (165, 55), (120, 42), (75, 55), (60, 95)), paint(_SKIN))
    if plain:
        return
    sides = [
        (_curve((60, 95), (61, 125), (68, 155), (88, 182), (100, 190), (80, 160), (74, 125), (72, 95)), 0.35),
        (_curve((180, 95), (179, 125), (172, 155), (152, 182), (140, 190), (160, 160), (166, 125), (168, 95)), 0.45),
    ]
    nose = (_curve((112, 95), (110, 130), (104, 143), (118, 147), (118, 100)), 0.25)
    hollows = [(_ring((120, 149), (14, 4)), 0.55), (_ring((120, 186), (16, 4)), 0.3)]
    sockets = [(_ring((x, 103), (21, 13)), 0.35) for x in (92, 148)]
    canvas.darken([*sides, nose, *hollows, *sockets], blur_px=3.5)
    fringe = ((56, 110), (58, 70), (80, 38), (120, 26), (160, 38), (182, 70), (184, 110))
    canvas.area(_curve(*fringe, (172, 80), (150, 62), (120, 58), (92, 62), (68, 80), (56, 110)), _HAIR)
    for side in _LEFT_AND_RIGHT:
        wing = [(_MIDDLE_X + side * x, y) for x, y in ((12.0, 143.0), (16.0, 148.0), (11.0, 151.0))]
        canvas.line(_curve(*wing), _CREASE, 1.3)
        canvas.ellipse((_MIDDLE_X + side * 6.5, 150.5), (3, 1.5), (70, 95, 150))


def _draw_eye(canvas: _Canvas, side: int, expression: Expression) -> None:
    x, y = _MIDDLE_X + side * 28, 108
    upper, lower = 7.5 * expression.lid, 5.5 * (1 - expression.cheek / 2)
    top = _curve((x - 15, y + 1), (x - 7, y - upper * 0.85), (x, y - upper), (x + 8, y - upper * 0.75), (x + 15, y + 1))
    bottom = _curve(
        (x + 15, y + 1), (x + 7, y + lower * 0.8), (x, y + lower), (x - 8, y + lower * 0.8), (x - 15, y + 1)
    )
    eyeball = _Canvas(_EYEBALL)
    eyeball.ellipse((x, y), (7, 7), _IRIS)
    eyeball.ellipse((x, y), (3.4, 3.4), (10, 10, 10))
    eyeball.ellipse((x - 2.5, y - 2.5), (1.5, 1.5), (255, 255, 255))
    canvas.inside(np.vstack([top, bottom]), eyeball)
    canvas.line(top, _LASHES, 2.0)
    canvas.line(bottom, _CREASE, 0.9)
    canvas.line(top - (0, 4.5), _SHADE, 1.2)


def _draw_eyebrow(canvas: _Canvas, side: int, expression: Expression) -> None:
    x = _MIDDLE_X + side * 28
    inner, outer = expression.brow_inner, expression.brow_outer
    middle = 84 + expression.brow_middle + (inner + outer) / 2
    brow = _curve((x - side * 17, 88 + inner), (x - side * 4, middle), (x + side * 16, 89 + outer))
    half = np.interp(np.linspace(0, 1, len(brow)), (0, 0.3, 1), (3.2, 3.0, 1.0))[:, None] * (0, 1)
    canvas.area(np.vstack([brow - half, (brow + half)[::-1]]), _HAIR)
    if inner > 3:  # a frown
        canvas.line([(_MIDDLE_X + side * 5, 86 + inner / 2), (_MIDDLE_X + side * 4, 97)], _CREASE, 1.4)


def _draw_fold(canvas: _Canvas, side: int, expression: Expression) -> None:
    if expression.folds > 0:
        wide = expression.width
        points = ((17.0, 146.0), (27 + wide * 0.5, 155.0), (31 + wide * 0.7, 165.0))
        fold = _curve(*((_MIDDLE_X + side * x, y) for x, y in points))
        canvas.line(fold, _SHADE, 1.2 * (1 + expression.folds))


def _draw_mouth(canvas: _Canvas, expression: Expression) -> None:
    middle, half = 168.0, 22 + expression.width
    corner, jaw = middle - expression.corners, expression.jaw
    bend = corner - middle
    crest = middle - 4 - expression.upper_lip
    upper = _mouth_curve(half, corner, crest + bend * 0.35, crest)
    inner_top = middle - 0.5 - expression.upper_lip * 0.6
    top = _mouth_curve(half, corner, inner_top - 0.3 + bend * 0.3, inner_top)
    bottom = _mouth_curve(half, corner, middle + jaw * 0.8 + bend * 0.3, middle + jaw + 0.2)
    lower = _mouth_curve(half, corner, middle + jaw * 0.85 + 5 + bend * 0.3, middle + jaw + 6.5)
    canvas.area(np.vstack([upper, top[::-1]]), _UPPER_LIP)
    canvas.area(np.vstack([bottom, lower[::-1]]), _LOWER_LIP)
    opening = np.vstack([top, bottom[::-1]])
    inside = _Canvas(_INSIDE_OF_MOUTH)
    if expression.teeth > 0:
        inside.area(np.vstack([top - (0, 2), np.add(top, (0, expression.teeth))[::-1]]), _TEETH)
    canvas.inside(opening, inside)
    canvas.line(top, (60, 55, 110), 1.1)
    if jaw > 1:
        canvas.line(bottom, (60, 55, 110), 0.8)
    for side in _LEFT_AND_RIGHT:
        canvas.ellipse((_MIDDLE_X + side * half, corner), (1.6, 1.6), (70, 80, 130))


def _mouth_curve(half: float, corner: float, between: float, middle: float) -> Float64Array:
    return _curve(
        (_MIDDLE_X - half, corner),
        (_MIDDLE_X - half / 2, between),
        (_MIDDLE_X, middle),
        (_MIDDLE_X + half / 2, between),
        (_MIDDLE_X + half, corner),
    )
