"""The demo sources: ``demo``, in which a real portrait moves, approaches, leaves and returns, and ``demo:emotions``.

They are selected like a camera, need no hardware, and always give the same pictures.
"""

from __future__ import annotations

import math
from functools import cached_property
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from fer_edge.images.files import decode_colour, decode_gray
from fer_edge.protocols import NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import NumberedSource
from fer_edge.types import Float32Array, Frame, UInt8Array

if TYPE_CHECKING:
    from fer_edge.sources.demo.emotions_scene import EmotionsScene

DEMO_URI = "demo"
DEMO_URIS = (DEMO_URI, "demo:emotions")
DEMO_FPS = 15.0
SCENE_S = 20.0
"""Length of the scene in seconds. A longer source repeats it; the end joins the start."""

_WIDTH, _HEIGHT = 640, 480
_SEED = 20260101
_FACE_CENTRE = (224.5, 113.5)
"""Centre of the face in assets/astronaut.jpg, pixels; its Haar box is 95 pixels wide."""
_NOISE_SIGMA = 4.0
"""Grey levels, typical of a small sensor indoors."""
_NOISE_MARGIN = 64
_WALL_CHROMA = np.array([122, 138], np.float32)
"""Cr and Cb of the background: a bluish grey."""


class _Pose(NamedTuple):
    """Position of the face at ``at`` seconds: centre in pixels, and ``scale`` (1 is a face 95 pixels wide)."""

    at: float
    x: float
    y: float
    scale: float


# The face is outside the picture for about 2.5 s around 13.5 s and where the scene repeats: tracks leave and appear.
_PATH = (
    _Pose(0.0, -240, 265, 0.8),
    _Pose(1.6, 200, 255, 0.8),
    _Pose(4.5, 420, 235, 1.2),
    _Pose(7.5, 310, 235, 2.0),
    _Pose(10.5, 300, 300, 0.5),
    _Pose(11.3, 370, 295, 0.5),
    _Pose(12.6, 860, 280, 0.7),
    _Pose(14.6, 880, 260, 1.0),
    _Pose(15.7, 460, 240, 1.1),
    _Pose(18.2, 380, 245, 1.0),
    _Pose(SCENE_S, -240, 265, 0.8),
)


def open_demo(uri: str, settings: SourceSettings, name: str) -> DemoSource | None:
    """Return the scene of a demo URI, else None; one pass, or an endless loop if ``settings.realtime``."""
    if uri not in DEMO_URIS:
        return None
    if uri == DEMO_URI:
        return DemoSource(settings, name, math.inf if settings.realtime else SCENE_S)
    from fer_edge.sources.demo.emotions_scene import LENGTH_S, EmotionsScene  # 0.6 MiB that no camera needs

    return DemoSource(settings, name, math.inf if settings.realtime else LENGTH_S, EmotionsScene())


class DemoSource(NumberedSource):
    """A scene for ``seconds`` (or ``math.inf``): 640 x 480, ``settings.fps`` or 15 frames a second, media time.

    ``frame_count`` is an integer, or ``math.inf``.
    """

    live = False

    def __init__(
        self,
        settings: SourceSettings,
        name: str = DEMO_URI,
        seconds: float = SCENE_S,
        scene: DemoScene | EmotionsScene | None = None,
    ) -> None:
        self.name = name
        self.fps = settings.fps or DEMO_FPS
        self.frame_count = max(1, round(seconds * self.fps)) if math.isfinite(seconds) else math.inf
        self._scene = scene or DemoScene()

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame, or ENDED."""
        if self._index >= self.frame_count:
            return NoFrame.ENDED
        at = self._index / self.fps
        gray = self._scene.render(at, self._index)
        return self._frame(at, gray, self._scene.in_colour(gray, at) if self.keep_colour else None)


class DemoScene:
    """Renders the scene at any time: background, portrait, slowly changing light, and noise."""

    def __init__(self) -> None:
        assets = files("fer_edge") / "assets"
        portrait = decode_gray((assets / "astronaut.jpg").read_bytes(), "assets/astronaut.jpg")
        mask = decode_gray((assets / "astronaut-mask.png").read_bytes(), "assets/astronaut-mask.png")
        random = np.random.default_rng(_SEED)
        # Soft edges make the cut-out look natural. Both are one image, so that a single warp moves them.
        alpha = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 1.2)
        self._cutout = np.dstack([portrait.astype(np.float32), alpha])
        self._background = _background(random)
        shape = (_HEIGHT + _NOISE_MARGIN, _WIDTH + _NOISE_MARGIN)
        self._noise = (random.standard_normal(shape) * _NOISE_SIGMA).astype(np.float32)

    def render(self, at: float, index: int) -> UInt8Array:
        """Return the picture uint8 [480, 640] at ``at`` seconds; ``index`` selects the noise."""
        size = (_WIDTH, _HEIGHT)
        matrix = _placement(at)
        # cv2.warpAffine has no area interpolation; the portrait is smooth enough for bilinear down to half size.
        picture, alpha = cv2.split(cv2.warpAffine(self._cutout, matrix, size, flags=cv2.INTER_LINEAR))
        picture -= self._background
        picture *= alpha
        picture += self._background
        picture *= 1 + 0.08 * math.sin(2 * math.pi * at / 9)
        # One noise field, shifted by steps that share no factor with its margin: it appears to change at no cost.
        top, left = (index * 29) % _NOISE_MARGIN, (index * 43 + 7) % _NOISE_MARGIN
        picture += self._noise[top : top + _HEIGHT, left : left + _WIDTH]
        return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0, out=picture)), dtype=np.uint8)

    def in_colour(self, gray: UInt8Array, at: float) -> UInt8Array:
        """Return the picture ``gray`` of ``at`` seconds in colour, uint8 [480, 640, 3] (BGR)."""
        chroma = cv2.warpAffine(self._chroma, _placement(at), (_WIDTH, _HEIGHT), flags=cv2.INTER_LINEAR)
        red, blue = (cv2.convertScaleAbs(plane, alpha=1, beta=0) for plane in cv2.split(chroma + _WALL_CHROMA))
        return np.asarray(cv2.cvtColor(cv2.merge([gray, red, blue]), cv2.COLOR_YCrCb2BGR), np.uint8)

    @cached_property
    def _chroma(self) -> Float32Array:
        """How Cr and Cb of the portrait differ from the wall's, float32 [512, 512, 2]; 0 outside the person."""
        bgr = decode_colour((files("fer_edge") / "assets" / "astronaut-colour.jpg").read_bytes())
        assert bgr is not None
        alpha = self._cutout[..., 1]
        ycrcb = cv2.cvtColor(cv2.resize(bgr, alpha.shape[::-1], interpolation=cv2.INTER_CUBIC), cv2.COLOR_BGR2YCrCb)
        return (ycrcb[..., 1:].astype(np.float32) - _WALL_CHROMA) * alpha[..., None]


def pose_at(at: float) -> _Pose:
    """Return the pose of the face at ``at`` seconds, with smooth acceleration between the points of the path."""
    at = at % SCENE_S
    start, end = next((start, end) for start, end in pairwise(_PATH) if at <= end.at)
    share = (at - start.at) / (end.at - start.at)
    eased = share * share * (3 - 2 * share)
    return _Pose(at, *(first + eased * (last - first) for first, last in zip(start[1:], end[1:], strict=True)))


def _placement(at: float) -> Float32Array:
    """Return the 2x3 matrix that moves the portrait's face to its pose at ``at`` seconds, slightly tilted."""
    pose, tilt = pose_at(at), 5 * math.sin(2 * math.pi * at / 5)
    matrix = cv2.getRotationMatrix2D(_FACE_CENTRE, tilt, pose.scale)
    matrix[0, 2] += pose.x - _FACE_CENTRE[0]
    matrix[1, 2] += pose.y - _FACE_CENTRE[1]
    return np.asarray(matrix, dtype=np.float32)


def _background(random: np.random.Generator) -> Float32Array:
    """Return a mottled studio backdrop, float32 [480, 640], darker towards the corners."""
    picture = np.full((_HEIGHT, _WIDTH), 150, dtype=np.float32)
    for cells, strength in ((4, 22.0), (11, 10.0), (40, 5.0)):
        coarse = random.standard_normal((cells * 3 // 4, cells)).astype(np.float32) * strength
        picture += cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    rows = np.linspace(-1, 1, _HEIGHT, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, _WIDTH, dtype=np.float32)[None, :]
    return np.asarray(picture * (1 - 0.18 * (rows**2 + columns**2)), dtype=np.float32)
