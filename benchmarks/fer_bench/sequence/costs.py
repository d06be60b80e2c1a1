"""Measure processor time per frame by frame size and number of tracked faces."""

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
"""This size is measured with every number of faces; the others with few, because drawing large pictures is slow."""
_MAX_FACES, _FEW = 10, (0, 1, 3)
CELLS = tuple((*size, faces) for size in _SIZES for faces in (range(_MAX_FACES + 1) if size == _COUNTED_SIZE else _FEW))
"""Width, height and number of faces of each cell."""
_FRAMES, _ACQUIRING = 60, 30
"""Frames of a cell, 4 s. The first 2 s, in which the faces are detected, do not count."""
_FULL_FRAMES = 2
"""Frames of a cell that the full searches are shown: they are slow, and always take the same time."""


class Portraits:
    """The demo's portrait for every face. The faces must be tracked, and all systems detect this one."""

    def __init__(self) -> None:
        self._portrait = Portrait().face(0)

    def part(self, seed: Sequence[int], frames: int) -> tuple[Segment, ...]:
        """Return one segment with the one picture."""
        return (Segment(0, frames, "", (0,)),)

    def picture(self, row: int, label: str) -> FacePicture:
        """Return the portrait."""
        return self._portrait


def measure_costs(systems: Sequence[System], cells: Sequence[tuple[int, int, int]] = CELLS) -> tuple[CostCell, ...]:
    """Measure all ``cells`` for all ``systems``."""
    players = Portraits()
    found: list[CostCell] = []
    for width, height, faces in progress(cells, "costs", len(cells)):
        # As large as possible, in one row or, from four faces on, in two. Three in 240 rows are 58 pixels wide.
        largest = 0.25 if faces <= 3 else 0.155
        kind = Kind("costs", faces=faces, smallest=0.95 * largest, largest=largest)
        sequence = FaceSequence(kind, (width, height), _FRAMES, players, (faces, 100))
        found += _measure_cell(systems, sequence)
    return tuple(found)


def _measure_cell(systems: Sequence[System], sequence: FaceSequence) -> Iterator[CostCell]:
    """Measure one cell; full searches see frames as far apart as possible."""
    cpu_s = {system.name: 0.0 for system in systems}
    reported = {system.name: 0 for system in systems}
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
                reported[system.name] += len(answers)
                frames[system.name] += 1
    for name, count in frames.items():
        yield CostCell(
            name,
            sequence.width,
            sequence.height,
            sequence.kind.faces,
            followed=reported[name] / count,
            cpu_ms=1e3 * cpu_s[name] / count,
        )
