"""Measure all systems on the same frames, in turns of a second, so that a drift of the machine affects all equally."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from fer_bench.extras import progress
from fer_bench.pipeline.measure import in_turn
from fer_bench.pipeline.scenes import FPS
from fer_bench.results.sequence import ChangeScore, FaceFrames, KindResult, Score, SequenceSettings, StageShare
from fer_bench.sequence.cast import Cast, Segment
from fer_bench.sequence.scenes import KINDS, FaceSequence, TrueFace
from fer_bench.sequence.scoring import (
    MIN_VISIBLE,
    Acquired,
    Sighting,
    Surplus,
    acquired,
    by_number,
    id_switches,
    judge_changes,
    sightings,
    visits,
)
from fer_bench.sequence.systems import ReportedFace, System
from fer_bench.sequence.truth import CleanView
from fer_edge.types import Frame

_SEED = 20261122
CHUNK = 15
"""Frames of a turn. They are drawn before it, so that only the systems are timed."""

Truth = dict[int, tuple[TrueFace, ...]]
"""The faces of each frame."""


@dataclass
class Played:
    """The answers of one system to one sequence, by frame, and its processor time."""

    reported: dict[int, tuple[ReportedFace, ...]] = field(default_factory=dict)
    cpu_s: float = 0.0
    changed_events: int = 0


def sequences(settings: SequenceSettings, cast: Cast) -> Iterator[FaceSequence]:
    """Yield the sequences of all rounds. Their seeds do not depend on the choice of kinds."""
    for round_number in range(settings.rounds):
        for number, kind in enumerate(KINDS):
            if kind.name in settings.kinds:
                size = settings.width, settings.height
                yield FaceSequence(kind, size, settings.frames, cast, (round_number, number))


def measure(
    systems: Sequence[System],
    settings: SequenceSettings,
    cast: Cast,
    clean: CleanView,
) -> tuple[tuple[KindResult, ...], tuple[StageShare, ...]]:
    """Show all sequences to all ``systems``."""
    scores: dict[tuple[str, str], Score] = {}
    stages: tuple[StageShare, ...] = ()
    count = settings.rounds * len(settings.kinds)
    for sequence in progress(sequences(settings, cast), "sequences", count):
        before = {system.name: dict(system.stages.seconds) for system in systems}
        truth, played = play(systems, sequence, settings.baseline_every)
        if sequence.kind.name == KINDS[0].name and not stages:
            stages = _stage_shares(systems, before, played)
        for name, answers in played.items():
            key = sequence.kind.name, name
            scores[key] = scores.get(key, Score()) + score(sequence, truth, answers, played.values(), clean)
    return tuple(KindResult(kind, name, found) for (kind, name), found in scores.items()), stages


def play(
    systems: Sequence[System],
    sequence: FaceSequence,
    baseline_every: int,
) -> tuple[Truth, dict[str, Played]]:
    """Show ``sequence`` to ``systems`` in turns; return the truth and the answers of the systems that saw it."""
    played = {system.name: Played() for system in systems}
    truth: Truth = {}
    for system in systems:
        system.begin()
    starts = range(0, sequence.frames, CHUNK)
    for_all = _turns_for_all(len(starts), baseline_every)
    for number, start in enumerate(starts):
        frames = [sequence.frame(index) for index in range(start, min(start + CHUNK, sequence.frames))]
        shown = [Frame("sequence", frame.index, frame.index / FPS, frame.gray) for frame in frames]
        for system in in_turn(systems, 0, number):
            if system.every_frame or number in for_all:
                _turn(system, shown, played[system.name])
        truth.update({frame.index: frame.faces for frame in frames})
    return truth, {name: answers for name, answers in played.items() if answers.reported}


def _turns_for_all(turns: int, every: int) -> set[int]:
    """Return the turns that full searches see: a random one out of each ``every`` (0: none), the same in each run.

    Equal distances would always show the same phases of the motion, which repeats.
    """
    random = np.random.default_rng(_SEED)
    blocks = range(0, turns, every) if every else ()
    return {int(random.integers(start, min(start + every, turns))) for start in blocks}


def _turn(system: System, frames: Sequence[Frame], played: Played) -> None:
    events = system.changed_events
    start = time.process_time()
    reported = [system.process(frame) for frame in frames]
    played.cpu_s += time.process_time() - start
    played.reported.update(zip((frame.index for frame in frames), reported, strict=True))
    played.changed_events += system.changed_events - events


def score(
    sequence: FaceSequence,
    truth: Truth,
    played: Played,
    everyone: Iterable[Played],
    clean: CleanView,
) -> Score:
    """Return the score of ``played``; ``everyone`` has the answers of all systems, to find the frames that all saw."""
    shared = set.intersection(*(set(answers.reported) for answers in everyone))
    faces, in_shared = FaceFrames(), FaceFrames()
    seen: list[Sighting] = []
    for index, in_frame in truth.items():
        found, surplus = sightings(index, in_frame, played.reported.get(index))
        seen += found
        if index in played.reported:
            counted = _face_frames(found, surplus, clean)
            faces += counted
            in_shared += counted if index in shared else FaceFrames()
    result = Score(cpu_s=played.cpu_s, faces=faces, shared=in_shared, changed_events=played.changed_events)
    for number, of_face in by_number(seen).items():
        for visit in visits(of_face):
            result += _of_visit(visit, sequence.parts[number], clean)
    if len(played.reported) == len(truth):
        return result
    # The system did not see all frames, so only false changes are known.
    by_answer, by_label = (replace(changes, shown=0, delays_s=()) for changes in (result.by_answer, result.by_label))
    return replace(result, visits=0, acquired_s=(), by_answer=by_answer, by_label=by_label)


def _face_frames(found: Sequence[Sighting], surplus: Surplus, clean: CleanView) -> FaceFrames:
    counted = [sighting for sighting in found if sighting.visible >= MIN_VISIBLE]
    findable = [sighting for sighting in counted if clean.found(sighting.row)]
    return FaceFrames(
        frames=1,
        false_frames=int(surplus.false > 0),
        ghost_frames=int(surplus.ghosts > 0),
        shown=len(counted),
        matched=sum(sighting.reported is not None for sighting in counted),
        findable_shown=len(findable),
        findable_matched=sum(sighting.reported is not None for sighting in findable),
    )


def _of_visit(visit: Sequence[Sighting], part: Sequence[Segment], clean: CleanView) -> Score:
    came = acquired(visit, clean.found)
    return Score(
        sight_s=sum(sighting.looked for sighting in visit) / FPS,
        id_switches=id_switches(visit),
        visits=int(came is not None),
        acquired_s=_seconds(came),
        by_answer=_changes(visit, part, [clean.label(segment) for segment in part]),
        by_label=_changes(visit, part, [segment.label for segment in part]),
    )


def _changes(visit: Sequence[Sighting], part: Sequence[Segment], labels: Sequence[str | None]) -> ChangeScore:
    found = judge_changes(visit, part, labels)
    return ChangeScore(found.shown, tuple(delay / FPS for delay in found.delays), found.false, found.judged / FPS)


def _seconds(came: Acquired | None) -> tuple[float, ...]:
    return () if came is None or came.frames is None else (came.frames / FPS,)


def _stage_shares(
    systems: Sequence[System], before: dict[str, dict[str, float]], played: dict[str, Played]
) -> tuple[StageShare, ...]:
    """Return the time added to each stage per frame; ``other`` is the rest of the frame."""
    shares = []
    for system in (system for system in systems if system.name in played):
        frames = len(played[system.name].reported)
        added = {
            stage: 1e3 * (seconds - before[system.name].get(stage, 0.0)) / frames
            for stage, seconds in system.stages.seconds.items()
        }
        whole = added.pop("frame")
        added["other"] = max(0.0, whole - sum(added.values()))
        shares += [StageShare(system.name, stage, ms) for stage, ms in added.items()]
    return tuple(shares)
