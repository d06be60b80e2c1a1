"""The scene ``demo:emotions``: a drawn face that changes from one emotion to the next, in colour."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from fer_edge.images.colour import with_luma
from fer_edge.sources.demo.drawn_face import SIDE_PX, WALL, DrawnFace, Expression
from fer_edge.types import UInt8Array

LENGTH_S = 18.0
"""Length of the scene in seconds. A longer source repeats it; the face jumps from the last expression to the first."""
_WIDTH, _HEIGHT = 640, 480
_EACH_S, _CHANGE_S = 3.0, 0.5
"""Seconds of each expression, and those at its start in which the face changes."""
_SIZE = 1.55
"""Scale of the drawing in the picture."""
_NOISE_SIGMA = 3.0
_SEED = 20260202

_NEUTRAL = Expression(brow_inner=5, brow_outer=-2, lid=0.65, cheek=0.3, width=-3)
_HAPPY = Expression(
    corners=8, width=7, jaw=7, teeth=7, upper_lip=0.5, folds=0.9, cheek=0.5, brow_inner=-1, brow_outer=-2, lid=0.85
)
_SURPRISE = Expression(jaw=17, width=-9, brow_inner=-8, brow_outer=-7, brow_middle=-1.6, lid=1.25)
_SAD = Expression(corners=-7.3, width=-4, brow_inner=-6, brow_outer=3.5, brow_middle=1.2, lid=0.6, folds=0.1)
_FEAR = Expression(brow_inner=-9, brow_outer=-0.8, lid=1.4, jaw=7, width=8, corners=-4, teeth=1.5)
_EXPRESSIONS = (_NEUTRAL, _HAPPY, _SURPRISE, _SAD, _FEAR, _HAPPY)


class EmotionsScene:
    """Renders the scene at any time; always the same pictures."""

    def __init__(self) -> None:
        face = DrawnFace()
        self._alpha, self._draw = face.alpha, lru_cache(maxsize=1)(face.draw)
        self._picture: tuple[float, UInt8Array] | None = None
        noise = np.random.default_rng(_SEED).standard_normal((_HEIGHT + 64, _WIDTH + 64)) * _NOISE_SIGMA
        self._noise = noise.astype(np.float32)

    def render(self, at: float, index: int) -> UInt8Array:
        """Return the picture uint8 [480, 640] at ``at`` seconds; ``index`` selects the noise."""
        gray = np.asarray(cv2.cvtColor(self._render_bgr(at), cv2.COLOR_BGR2GRAY), np.float32)
        top, left = (index * 29) % 64, (index * 43 + 7) % 64
        gray += self._noise[top : top + _HEIGHT, left : left + _WIDTH]
        return np.asarray(np.clip(np.rint(gray), 0, 255), np.uint8)

    def in_colour(self, gray: UInt8Array, at: float) -> UInt8Array:
        """Return the picture ``gray`` of ``at`` seconds in colour, uint8 [480, 640, 3] (BGR)."""
        return with_luma(self._render_bgr(at), gray)

    def _render_bgr(self, at: float) -> UInt8Array:
        if self._picture is None or self._picture[0] != at:
            drawn = self._draw(expression_at(at))
            # The head sways a little.
            x = _WIDTH / 2 + 12 * math.sin(2 * math.pi * at / 9)
            y = _HEIGHT - SIDE_PX * _SIZE / 2 + 3 * math.sin(2 * math.pi * at / 4.5)
            matrix = np.array([[_SIZE, 0, x - _SIZE * SIDE_PX / 2], [0, _SIZE, y - _SIZE * SIDE_PX / 2]], np.float32)
            size = (_WIDTH, _HEIGHT)
            person = cv2.warpAffine(drawn, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            share = cv2.warpAffine(self._alpha, matrix, size, flags=cv2.INTER_LINEAR)[..., None]
            picture = np.asarray(person * share + np.array(WALL, np.float32) * (1 - share), np.uint8)
            self._picture = at, picture
        return self._picture[1]


def expression_at(at: float) -> Expression:
    """Return the expression at ``at`` seconds."""
    number, since_s = divmod(at % LENGTH_S, _EACH_S)
    before, now = _EXPRESSIONS[max(0, int(number) - 1)], _EXPRESSIONS[int(number)]
    share = min(1.0, since_s / _CHANGE_S)
    return before.towards(now, share * share * (3 - 2 * share))
