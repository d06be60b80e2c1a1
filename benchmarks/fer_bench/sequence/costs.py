"""What a frame costs by its size and by the number of faces in it, once they are followed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from fer_bench.extras import progress
from fer_bench.pipeline.faces import FacePicture, Portrait
from fer_bench.pipeline.scenes import FPS
from fer_bench.results.sequence import CostCell
from fer_bench.sequence.cast import Segment
from fer_bench.sequence.scenes import FaceSequence, Kind
from fer_bench.sequence.systems import System
from fer_edge.types import Frame

_SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))
_COUNTED_SIZE = (640, 480)
"""At this size with every number of faces; at the others with few, since drawing large pictures takes long."""
_MOST, _FEW = 10, (0, 1, 3)
CELLS = tuple((*size, faces) for size in _SIZES for faces in (range(_MOST + 1) if size == _COUNTED_SIZE else _FEW))
"""Width, height and number of faces of each cell."""
_FRAMES, _ACQUIRING = 60, 30
"""Frames of a cell, and the first of them, which are not counted: 4 s, and 2 s to find everyone."""
_FULL_FRAMES = 2
"""Frames of a cell that the full searches are shown: they cost the same every time, and much."""


class Portraits:
    """The demo's portrait in every place: it is about faces that are followed, and this one is found by everybody."""

    def __init__(self) -> None:
        self._portrait = Portrait().face(0)

    def part(self, seed: Sequence[int], frames: int) -> tuple[Segment, ...]:
        """The one picture in all ``frames``."""
        return (Segment(0, frames, "", (0,)),)

    def picture(self, row: int, label: str) -> FacePicture:
        """The portrait."""
        return self._portrait


def measure_costs(systems: Sequence[System], cells: Sequence[tuple[int, int, int]] = CELLS) -> tuple[CostCell, ...]:
    """All ``cells`` for all ``systems``."""
    players = Portraits()
    found: list[CostCell] = []
    for width, height, faces in progress(cells, "costs", len(cells)):
        # As large as there is room for, in one row or, from four on, in two; three in 240 rows are 58 pixels wide.
        largest = 0.25 if faces <= 3 else 0.155
        kind = Kind("costs", faces=faces, smallest=0.95 * largest, largest=largest)
        sequence = FaceSequence(kind, (width, height), _FRAMES, players, (faces, 100))
        found += _measure_cell(systems, sequence)
    return tuple(found)


def _measure_cell(systems: Sequence[System], sequence: FaceSequence) -> Iterator[CostCell]:
    """Full searches come between the frames of the others, as far apart as may be."""
    cpu_s = {system.name: 0.0 for system in systems}
    told = {system.name: 0 for system in systems}
    frames = {system.name: 0 for system in systems}
    apart = (_FRAMES - _ACQUIRING) // _FULL_FRAMES
    for system in systems:
        system.begin()
    for index in range(_FRAMES):
        frame = Frame("costs", index, index / FPS, sequence.frame(index).gray)
        for system in systems:
            if not system.every_frame and (index < _ACQUIRING or index % apart):
                continue
            start = time.process_time()
            answers = system.process(frame)
            if index >= _ACQUIRING:
                cpu_s[system.name] += time.process_time() - start
                told[system.name] += len(answers)
                frames[system.name] += 1
    for name, count in frames.items():
        yield CostCell(
            name,
            sequence.width,
            sequence.height,
            sequence.kind.faces,
            followed=told[name] / count,
            cpu_ms=1e3 * cpu_s[name] / count,
        )
