"""Draw a contact sheet for each scene, with the true boxes and those of the candidates."""

from __future__ import annotations

from pathlib import Path

from fer_bench.pipeline.measure import Turn
from fer_edge.images.files import write_image
from fer_edge.recording.annotate import contact_sheet, draw_box, draw_label, to_bgr
from fer_edge.types import Box, UInt8Array

_SHOWN = 8
"""Pictures on a sheet, at equal distances in the scene."""
_TRUE = (255, 255, 255)
_COLOURS = ((80, 220, 80), (60, 140, 255), (255, 120, 60))
"""BGR of the candidates, in their order: green, orange, blue."""


class ContactSheets:
    """Write ``WIDTHxHEIGHT-Nfaces-roundR.png`` to ``folder`` for each scene. The sheets show people of FER2013."""

    def __init__(self, folder: Path, candidates: tuple[str, ...]) -> None:
        self._folder = folder
        self._colours = dict(zip(candidates, _COLOURS, strict=False))

    def write(self, turn: Turn) -> None:
        """Draw one scene. Raises OutputError."""
        last = len(turn.frames) - 1
        wanted = sorted({round(last * number / (_SHOWN - 1)) for number in range(_SHOWN)})
        cell = turn.cell
        name = f"{cell.width}x{cell.height}-{cell.faces}faces-round{turn.round_number + 1}.png"
        sheet = contact_sheet([self._draw(turn, index) for index in wanted], tile_width=480)
        write_image(self._folder / name, sheet)

    def _draw(self, turn: Turn, index: int) -> UInt8Array:
        frame = turn.frames[index]
        picture = to_bgr(frame.gray)
        for face in frame.faces:
            draw_box(picture, face.box, _TRUE)
        line = round(0.06 * picture.shape[0])
        for number, (name, colour) in enumerate(self._colours.items()):
            for reported in turn.played[name].seen[index]:
                draw_box(picture, reported.box, colour)
                above = Box(reported.box.x, reported.box.y - number * line, reported.box.width, 0)
                draw_label(picture, above, f"{name}: {reported.label}", colour)
        for face in frame.faces:
            if face.label is not None:
                # draw_label writes above a box. A box below the face keeps the top free for the candidates.
                below = face.box.y + face.box.height + line
                draw_label(picture, Box(face.box.x, below, face.box.width, 0), f"is {face.label}", _TRUE)
        return picture
