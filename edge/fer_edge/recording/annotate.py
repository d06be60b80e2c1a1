"""Draw boxes and labels on frames, for the annotated video, annotated pictures and the contact sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from fer_edge.errors import InputError
from fer_edge.types import UNCERTAIN, Box, FrameResult, UInt8Array

Colour = tuple[int, int, int]

# BGR. Okabe and Ito's palette, which is safe for red-green colour blindness: https://jfly.uni-koeln.de/color/
_PALETTE: tuple[Colour, ...] = (
    (0, 94, 213),
    (115, 158, 0),
    (167, 121, 204),
    (66, 228, 240),
    (178, 114, 0),
    (0, 159, 230),
    (233, 180, 86),
)
_UNCERTAIN_COLOUR: Colour = (190, 190, 190)
_INK: Colour = (20, 20, 20)
_PAPER: Colour = (245, 245, 245)
_FONT = cv2.FONT_HERSHEY_DUPLEX


class Annotator:
    """Draws boxes and labels on frames, which are in colour if the source keeps it.

    ``labels`` (from the bundle) determine the colours of the boxes.

    >>> import numpy as np
    >>> from fer_edge import Box, Frame, FrameResult, TrackedEmotion
    >>> frame = Frame("door", 0, 0.0, np.zeros((120, 160), np.uint8))
    >>> face = TrackedEmotion("door", 1, Box(40, 30, 60, 60), "happy", confidence=0.83, since=0.0)
    >>> Annotator(["happy", "sad"]).draw(FrameResult(frame, (face,), ())).shape
    (120, 160, 3)
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._colours = {label: _PALETTE[i % len(_PALETTE)] for i, label in enumerate(labels)}

    def colour(self, emotion: str | None) -> Colour:
        """Return the BGR colour of a label; grey if uncertain, unknown or None."""
        return self._colours.get(emotion or UNCERTAIN, _UNCERTAIN_COLOUR)

    def draw(self, result: FrameResult) -> UInt8Array:
        """Return the frame as uint8 BGR [H, W, 3], with box and label of each track."""
        frame = result.frame
        picture = to_bgr(frame.gray) if frame.bgr is None else frame.bgr.copy()
        unit = _unit(picture)
        for track in result.tracks:
            colour = self.colour(track.emotion)
            draw_box(picture, track.box, colour)
            certain = track.emotion not in (None, UNCERTAIN)
            words = (f"#{track.track_id}", track.emotion, f"{track.confidence:.0%}" if certain else None)
            draw_label(picture, track.box, " ".join(filter(None, words)), colour)
        text = f"{result.frame.source}  {result.frame.captured_at:.2f} s"
        _write(picture, text, (round(8 * unit), picture.shape[0] - round(9 * unit)), 0.45 * unit, _PAPER, outline=True)
        return picture


def to_bgr(gray: UInt8Array) -> UInt8Array:
    """Convert a grey picture, uint8 [H, W], to BGR [H, W, 3]."""
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def draw_box(picture: UInt8Array, box: Box, colour: Colour) -> None:
    """Draw a thin frame with strong corners, and a dark edge that keeps it visible on a light background."""
    unit = _unit(picture)
    thin, thick = max(1, round(2 * unit)), max(2, round(4 * unit))
    left, top, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    cv2.rectangle(picture, (left, top), (right, bottom), _INK, thin + 2, cv2.LINE_AA)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, thin, cv2.LINE_AA)
    arm = max(4, min(box.width, box.height) // 5)
    for x, y, dx, dy in ((left, top, 1, 1), (right, top, -1, 1), (left, bottom, 1, -1), (right, bottom, -1, -1)):
        cv2.line(picture, (x, y), (x + dx * arm, y), colour, thick, cv2.LINE_AA)
        cv2.line(picture, (x, y), (x, y + dy * arm), colour, thick, cv2.LINE_AA)


def draw_label(picture: UInt8Array, box: Box, text: str, colour: Colour) -> None:
    """Draw ``text`` on a plate of ``colour`` above the box, or inside it if the space above is too small."""
    unit = _unit(picture)
    size = 0.55 * unit
    (width, height), base = cv2.getTextSize(text, _FONT, size, max(1, round(unit)))
    pad = round(5 * unit)
    plate_height = height + base + pad
    left = min(max(box.x, 0), max(0, picture.shape[1] - width - 2 * pad))
    top = box.y - plate_height - round(3 * unit)
    top = top if top >= 0 else max(0, box.y + round(3 * unit))
    cv2.rectangle(picture, (left, top), (left + width + 2 * pad, top + plate_height), colour, cv2.FILLED)
    # Luma by BT.601: dark text on light plates, light text on dark ones.
    bright = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2] > 110
    _write(picture, text, (left + pad, top + pad // 2 + height), size, _INK if bright else _PAPER)


def draw_probabilities(
    picture: UInt8Array, box: Box, probabilities: Mapping[str, float], colours: Mapping[str, Colour]
) -> None:
    """Draw one bar per label to the right of the box, or to its left if there is not enough space."""
    unit = min(_unit(picture), max(0.35, box.height / (len(probabilities) * 22)))
    row, pad, reach = round(20 * unit), round(5 * unit), round(150 * unit)
    right = box.x + box.width + round(8 * unit)
    left = right if picture.shape[1] - right >= reach else max(0, box.x - reach - round(8 * unit))
    top = min(max(0, box.y), max(0, picture.shape[0] - row * len(probabilities)))
    panel = picture[top : top + row * len(probabilities), left : left + reach]
    panel[:] = (panel * 0.35).astype(np.uint8)
    bar_left, bar_reach = left + round(70 * unit), reach - round(70 * unit) - pad
    for number, (label, probability) in enumerate(probabilities.items()):
        y = top + number * row
        _write(picture, label, (left + pad, y + round(14 * unit)), 0.4 * unit, _PAPER)
        end = (bar_left + max(1, round(bar_reach * probability)), y + round(15 * unit))
        cv2.rectangle(picture, (bar_left, y + round(6 * unit)), end, colours[label], cv2.FILLED)


def contact_sheet(pictures: Sequence[UInt8Array], columns: int = 4, tile_width: int = 320) -> UInt8Array:
    """Return a grid of ``pictures`` (BGR, any sizes) as tiles ``tile_width`` pixels wide on a dark background.

    Raises:
        InputError: if ``pictures`` is empty.
    """
    if not pictures:
        raise InputError("a contact sheet needs one or more pictures")
    gap = 6
    tile_height = round(tile_width * pictures[0].shape[0] / pictures[0].shape[1])
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full((rows * (tile_height + gap) + gap, columns * (tile_width + gap) + gap, 3), 28, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        top = gap + number // columns * (tile_height + gap)
        left = gap + number % columns * (tile_width + gap)
        sheet[top : top + tile_height, left : left + tile_width] = fit_picture(picture, tile_width, tile_height)
    return sheet


def with_lines(picture: UInt8Array, lines: Iterable[str], max_lines: int) -> UInt8Array:
    """Return BGR ``picture`` with room for ``max_lines`` below it, in which ``lines`` are written."""
    unit = _unit(picture)
    row = round(20 * unit)
    strip = np.full((max_lines * row + round(10 * unit), picture.shape[1], 3), _INK, np.uint8)
    for number, line in enumerate(lines):
        _write(strip, line, (round(8 * unit), number * row + round(19 * unit)), 0.45 * unit, _PAPER)
    return np.vstack([picture, strip])


def fit_picture(picture: UInt8Array, width: int, height: int) -> UInt8Array:
    """Scale BGR ``picture`` into [height, width, 3], keeping its aspect ratio; the rest is black."""
    if picture.shape[:2] == (height, width):
        return picture
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    result = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    result[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=method)
    return result


def _unit(picture: UInt8Array) -> float:
    """Return the scale of the drawing: 1 for a picture 480 pixels high. Below 0.75, text could not be read."""
    return float(max(min(picture.shape[:2]) / 480, 0.75))


def _write(
    picture: UInt8Array, text: str, origin: tuple[int, int], size: float, colour: Colour, *, outline: bool = False
) -> None:
    ascii_text = text.encode("ascii", "replace").decode("ascii")  # OpenCV's fonts have only ASCII
    stroke = max(1, round(size * 1.6))
    if outline:
        cv2.putText(picture, ascii_text, origin, _FONT, size, _INK, stroke + 2, cv2.LINE_AA)
    cv2.putText(picture, ascii_text, origin, _FONT, size, colour, stroke, cv2.LINE_AA)
