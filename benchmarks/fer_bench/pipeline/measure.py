"""Measure all candidates on the same scenes, in rounds, so that a drift of the machine affects all equally."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import median
from typing import TypeVar

import numpy as np

from fer_bench.extras import progress
from fer_bench.pipeline.faces import FaceSupply
from fer_bench.pipeline.processes import CandidateProcess, Played
from fer_bench.pipeline.scenes import SceneFrame, make_scene
from fer_bench.pipeline.scoring import FrameScore, score_frame
from fer_bench.results.pipeline import Answers, CellResult, Durations, SceneSettings

T = TypeVar("T")
WARM_UP = 2
"""Uncounted frames at the start of each turn, which bring the candidate's code and weights back into the caches."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The scenes of one size and number of faces."""

    width: int
    height: int
    faces: int

    @property
    def name(self) -> str:
        """The name, such as ``640x480, 3 faces``."""
        return f"{self.width}x{self.height}, {self.faces} face{'s' * (self.faces != 1)}"


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One scene of a round, and the answers of each candidate."""

    round_number: int
    cell: Cell
    frames: tuple[SceneFrame, ...]
    played: dict[str, Played]


OnTurn = Callable[[Turn], None]


@dataclass
class _Tally:
    """Sums over the rounds for one candidate and cell."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Mean per frame, one value for each round."""
    score: FrameScore = field(default_factory=FrameScore)
    steady_mib: float | None = None
    peak_mib: float | None = None
    stages: dict[str, list[float]] = field(default_factory=dict)

    def add(self, turn: Turn, played: Played) -> None:
        self.wall_s += played.wall_s
        self.cpu_s.append(sum(played.cpu_s) / len(played.cpu_s))
        for frame, seen in zip(turn.frames, played.seen, strict=True):
            self.score += score_frame(frame.faces, seen)
        # The first round goes from the smallest scene to the largest, so no larger one has raised the memory.
        if turn.round_number == 0:
            self.steady_mib, self.peak_mib = played.steady_mib, played.peak_mib
        self.stages = played.stages


def measure(
    candidates: Sequence[CandidateProcess],
    faces: FaceSupply,
    settings: SceneSettings,
    on_turn: OnTurn = lambda turn: None,
) -> tuple[CellResult, ...]:
    """Show all scenes to all ``candidates``. The others are compared with the first."""
    tallies: dict[Cell, dict[str, _Tally]] = {}
    people: dict[Cell, set[int]] = {}
    for turn in _turns(candidates, faces, settings):
        of_cell = tallies.setdefault(turn.cell, {candidate.name: _Tally() for candidate in candidates})
        for name, played in turn.played.items():
            of_cell[name].add(turn, played)
        people.setdefault(turn.cell, set()).update(face.number for frame in turn.frames for face in frame.faces)
        on_turn(turn)
    return tuple(
        _result(cell, name, tally, of_cell[candidates[0].name], len(people[cell]), labelled=faces.labelled)
        for cell, of_cell in tallies.items()
        for name, tally in of_cell.items()
    )


def _turns(candidates: Sequence[CandidateProcess], faces: FaceSupply, settings: SceneSettings) -> Iterator[Turn]:
    sizes = sorted(settings.sizes, key=lambda size: size[0] * size[1])
    cells = [Cell(*size, faces) for size, faces in product(sizes, sorted(settings.faces))]
    plan = list(product(range(settings.rounds), enumerate(cells)))
    for round_number, (cell_number, cell) in progress(plan, "pipeline", len(plan)):
        first = _first_face(round_number, cell.faces, settings.faces)
        scene = make_scene((cell.width, cell.height), cell.faces, round_number, faces, first)
        frames = tuple(scene.frame(index) for index in range(settings.frames))
        pictures = [frame.gray for frame in frames]
        played = {}
        for candidate in in_turn(candidates, round_number, cell_number):
            candidate.play(None, pictures[:WARM_UP], settings.fps)
            played[candidate.name] = candidate.play(cell.name, pictures, settings.fps)
        yield Turn(round_number, cell, frames, played)


def in_turn(candidates: Sequence[T], round_number: int, cell_number: int) -> tuple[T, ...]:
    """Return the order of turns, which rotates from cell to cell and from round to round."""
    first = (round_number + cell_number) % len(candidates)
    return *candidates[first:], *candidates[:first]


def _first_face(round_number: int, faces: int, all_faces: Sequence[int]) -> int:
    """Return the number of the first face: each scene of each round shows other people, the same in all sizes."""
    counts = sorted(all_faces)
    return round_number * sum(counts) + sum(count for count in counts if count < faces)


def _result(cell: Cell, name: str, tally: _Tally, ours: _Tally, people: int, *, labelled: bool) -> CellResult:
    score, times = tally.score, np.array(tally.wall_s)
    p50, p95, p99 = (float(value) for value in np.percentile(1e3 * times, (50, 95, 99)))
    return CellResult(
        candidate=name,
        width=cell.width,
        height=cell.height,
        faces=cell.faces,
        frame=Durations(p50, p95, p99, times.size),
        fps=times.size / float(times.sum()),
        cpu_ms=1e3 * sum(tally.cpu_s) / len(tally.cpu_s),
        cpu_over_ours=median(theirs / own for theirs, own in zip(tally.cpu_s, ours.cpu_s, strict=True)),
        rss_steady_mib=tally.steady_mib,
        rss_peak_mib=tally.peak_mib,
        stages=_stages(tally.stages),
        answers=Answers(
            shown=score.shown,
            distinct=people,
            matched=score.matched,
            false_boxes=score.false_boxes,
            right=score.right if labelled else None,
            uncertain=score.uncertain if labelled else None,
        ),
    )


def _stages(stages: Mapping[str, list[float]]) -> dict[str, Durations]:
    return {name: Durations(p50, p95, p99, int(calls)) for name, (p50, p95, p99, calls) in stages.items()}
