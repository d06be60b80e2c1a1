"""Tables and notes about moving faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from fer_bench.results.sequence import FER_EDGE, FULL_SEARCHES, CostCell, Score, SequenceSection, total
from fer_bench.tables import Table, percent

_NONE = "-"
_ALL = "all"
_MIDDLE, _TAIL = 50, 95
_REFERENCE = next(iter(FULL_SEARCHES))
"""The search that FER-Edge's recall and mistakes are compared with."""


def tables(section: SequenceSection) -> list[Table]:
    """Return tables of each kind of sequence and system, their sum, and the goals."""
    rows = _rows(section)
    return [
        _table(rows, _FOUND, "Moving faces: cost and detection"),
        _table(rows, _TOLD, "Moving faces: tracks and reported emotions"),
        _goals(section),
        *([_costs(section)] if section.costs else []),
    ]


Row = tuple[str, str, Score]
Column = tuple[str, Callable[[Score, Score], str]]


def _rows(section: SequenceSection) -> list[Row]:
    systems = list(dict.fromkeys(result.system for result in section.results))
    rows = [(result.kind, result.system, result.score) for result in section.results]
    return [*rows, *((_ALL, system, total(section.results, system)) for system in systems)]


_FOUND: tuple[Column, ...] = (
    ("frames", lambda score, ours: str(score.faces.frames)),
    ("CPU ms", lambda score, ours: f"{score.cpu_ms:.2f}"),
    ("× ours", lambda score, ours: _ratio(score.cpu_ms, ours.cpu_ms)),
    ("recall %", lambda score, ours: _share(score.shared.matched, score.shared.shown)),
    ("of findable", lambda score, ours: _share(score.shared.findable_matched, score.shared.findable_shown)),
    ("false %", lambda score, ours: _share(score.shared.false_frames, score.shared.frames)),
    ("ghosts %", lambda score, ours: _share(score.shared.ghost_frames, score.shared.frames)),
    ("recall all", lambda score, ours: _share(score.faces.matched, score.faces.shown)),
    ("false all", lambda score, ours: _share(score.faces.false_frames, score.faces.frames)),
    ("ghosts all", lambda score, ours: _share(score.faces.ghost_frames, score.faces.frames)),
)
_TOLD: tuple[Column, ...] = (
    ("ids/min", lambda score, ours: _rate(score.id_switches, score.sight_s) if score.visits else _NONE),
    ("visits", lambda score, ours: str(score.visits)),
    ("found", lambda score, ours: str(len(score.acquired_s))),
    ("p50 s", lambda score, ours: _percentile(score.acquired_s, _MIDDLE)),
    ("p95 s", lambda score, ours: _percentile(score.acquired_s, _TAIL)),
    ("changes", lambda score, ours: str(score.by_answer.shown)),
    ("reported %", lambda score, ours: _share(len(score.by_answer.delays_s), score.by_answer.shown)),
    ("delay p50", lambda score, ours: _percentile(score.by_answer.delays_s, _MIDDLE)),
    ("p95", lambda score, ours: _percentile(score.by_answer.delays_s, _TAIL)),
    ("false/min", lambda score, ours: _rate(score.by_answer.false, score.by_answer.judged_s)),
    ("by label: n", lambda score, ours: str(score.by_label.shown)),
    ("reported %", lambda score, ours: _share(len(score.by_label.delays_s), score.by_label.shown)),
    ("false/min", lambda score, ours: _rate(score.by_label.false, score.by_label.judged_s)),
)


def _table(rows: Sequence[Row], columns: Sequence[Column], title: str) -> Table:
    ours = {kind: score for kind, system, score in rows if system == FER_EDGE}
    cells = [[kind, system, *(show(score, ours[kind]) for _, show in columns)] for kind, system, score in rows]
    return Table(["sequence", "system", *(name for name, _ in columns)], cells, 2, title)


Goal = tuple[str, str, str, bool]
"""A goal, the limit, the measured value, and whether the goal is met."""


def _goals(section: SequenceSection) -> Table:
    """Return the goals of FER-Edge, and whether this report meets them."""
    by_kind: dict[str, dict[str, Score]] = {}
    for result in section.results:
        by_kind.setdefault(result.kind, {})[result.system] = result.score
    everything = {system: total(section.results, system) for system in by_kind[section.results[0].kind]}
    goals = (
        *_cost_goals(by_kind.get("easy", {})),
        *_detection_goals(everything),
        *_goals_of_each(by_kind),
        *_acquiring_goals(by_kind.get("leaving", {})),
        *_change_goals(everything),
    )
    rows = [[what, wanted, measured, "yes" if met else "NO"] for what, wanted, measured, met in goals]
    return Table(["goal", "wanted", "here", "met"], rows, 1, "Moving faces: the goals")


def _cost_goals(easy: Mapping[str, Score]) -> Iterator[Goal]:
    for name, least in zip(FULL_SEARCHES, (50, 20), strict=True):
        if name in easy:
            ratio = easy[name].cpu_ms / easy[FER_EDGE].cpu_ms
            yield f"easy: CPU of {name} over ours", f"≥ {least}", f"{ratio:.1f}", ratio >= least


def _detection_goals(scores: Mapping[str, Score]) -> Iterator[Goal]:
    ours, theirs = scores[FER_EDGE], scores.get(_REFERENCE)
    if theirs is None:
        return
    if theirs.shared.shown:
        change = 100 * (ours.shared.matched / ours.shared.shown - theirs.shared.matched / theirs.shared.shown)
        yield f"recall minus that of {_REFERENCE}, points", "≥ -1", f"{change:+.1f}", change >= -1
    change = 100 * (ours.shared.false_frames - theirs.shared.false_frames) / ours.shared.frames
    yield f"frames with a false face minus those of {_REFERENCE}, points", "≤ 1", f"{change:+.1f}", change <= 1


_MAX_FALSE_SHARE = 0.02
"""Share of a kind's frames that may have a false face."""


def _goals_of_each(by_kind: Mapping[str, Mapping[str, Score]]) -> Iterator[Goal]:
    """Yield the goals for each kind of sequence, with the kinds that do not meet them."""
    scores = [
        (kind, systems[FER_EDGE], systems[_REFERENCE]) for kind, systems in by_kind.items() if _REFERENCE in systems
    ]
    if not scores:
        return
    ratios = [theirs.cpu_ms / ours.cpu_ms for _, ours, theirs in scores]
    mean = sum(ratios) / len(ratios)
    yield f"CPU of {_REFERENCE} over ours, mean of the kinds", "≥ 60", f"{mean:.1f}", mean >= 60
    less = [
        kind
        for kind, ours, theirs in scores
        if ours.shared.matched * theirs.shared.shown < theirs.shared.matched * ours.shared.shown
    ]
    yield _each(f"recall below that of {_REFERENCE}", less)
    frames = f"in more than {100 * _MAX_FALSE_SHARE:.0f} % of the frames"
    ghosts = [kind for kind, ours, _ in scores if ours.faces.ghost_frames > _MAX_FALSE_SHARE * ours.faces.frames]
    yield _each(f"ghosts {frames}", ghosts)
    false = [kind for kind, ours, _ in scores if ours.faces.false_frames > _MAX_FALSE_SHARE * ours.faces.frames]
    yield _each(f"false faces {frames}", false)


def _each(what: str, kinds: Sequence[str]) -> Goal:
    return f"kinds with {what}", "0", f"{len(kinds)}: {', '.join(kinds)}" if kinds else "0", not kinds


def _acquiring_goals(leaving: Mapping[str, Score]) -> Iterator[Goal]:
    """Yield the goal for new faces, in good light: the cascade may not detect others for a long time."""
    ours = leaving.get(FER_EDGE, Score())
    if ours.visits:
        # A face that was never detected counts as an infinite time.
        waits = [*ours.acquired_s, *[math.inf] * (ours.visits - len(ours.acquired_s))]
        wait = float(np.percentile(waits, _TAIL, method="higher"))
        here = f"{wait:.2f}" if math.isfinite(wait) else "never"
        yield "leaving: time until a new face is reported, p95 s", "≤ 1", here, wait <= 1


def _change_goals(scores: Mapping[str, Score]) -> Iterator[Goal]:
    """Yield the goals for changes, judged by the classifier's labels for the clean images."""
    ours, theirs = scores[FER_EDGE], scores.get(_REFERENCE)
    if theirs is not None and ours.by_answer.judged_s and theirs.by_answer.judged_s:
        false, their_false = (_per_minute(found.false, found.judged_s) for found in (ours.by_answer, theirs.by_answer))
        here = f"{their_false / false:.1f}" if false else f"0 for {their_false:.1f}"
        if their_false:  # without any, the ratio is undefined
            yield f"false changes of {_REFERENCE} over ours", "≥ 10", here, their_false >= 10 * false
    if ours.by_answer.shown:
        told = len(ours.by_answer.delays_s) / ours.by_answer.shown
        yield "true changes reported, %", "≥ 95", percent(told), told >= 0.95
    if ours.by_answer.delays_s:
        late = float(np.percentile(ours.by_answer.delays_s, _TAIL))
        yield "their delay, p95 s", "≤ 1.5", f"{late:.2f}", late <= 1.5


def _costs(section: SequenceSection) -> Table:
    """Return a row for each size and number of faces, and a column for each system."""
    cells: dict[tuple[int, int, int], dict[str, CostCell]] = {}
    for cell in section.costs:
        cells.setdefault((cell.width, cell.height, cell.faces), {})[cell.system] = cell
    systems = list(dict.fromkeys(cell.system for cell in section.costs))
    rows = [
        [
            f"{width}x{height}",
            str(faces),
            f"{of_systems[FER_EDGE].followed:.1f}",
            *(f"{of_systems[system].cpu_ms:.2f}" for system in systems),
        ]
        for (width, height, faces), of_systems in sorted(cells.items())
    ]
    header = ["frame", "faces", "tracked", *(f"{system} CPU ms" for system in systems)]
    return Table(header, rows, 2, "Moving faces: processor time of a frame while faces are tracked")


def notes(section: SequenceSection) -> list[str]:
    """Return how it was measured, one line each."""
    how, cast = section.settings, section.cast
    chosen = "that FER+'s raters agree on" if cast.by_votes else "by their label alone: no FER+ votes"
    without = f"; too few of {', '.join(cast.left_out)}" if cast.left_out else ""
    lines = [
        f"sequences: {len(how.kinds)} kinds, {how.rounds} of each, {how.frames / how.fps:g} s of "
        f"{how.width}x{how.height} at {how.fps:g} frames a second",
        f"faces: {cast.shown} of {cast.candidates} images of {cast.name} {cast.split} {chosen}{without}; Haar finds "
        f"{cast.findable} of them upright, clean and alone",
        "CPU: processor time of a frame, without drawing and decoding; systems run alternately, one second each",
    ]
    if how.config is not None:
        lines.append(f"fer-edge: with the settings given by --config (SHA-256 {how.config[:12]}…)")
    if how.yunet is not None:
        lines.append(f"yunet: the model with SHA-256 {how.yunet[:12]}…")
    if how.baseline_every:
        lines.append(
            f"full searches see one second in {how.baseline_every}; recall and false are computed from the "
            "frames shown to all systems, the other columns from all frames shown to the system"
        )
    return lines


def _share(part: int, whole: int) -> str:
    return percent(part / whole) if whole else _NONE


def _ratio(value: float, ours: float) -> str:
    return f"{value / ours:.1f}" if ours else _NONE


def _per_minute(count: int, seconds: float) -> float:
    return 60 * count / seconds


def _rate(count: int, seconds: float) -> str:
    return f"{_per_minute(count, seconds):.1f}" if seconds else _NONE


def _percentile(values: Sequence[float], share: float) -> str:
    return f"{np.percentile(values, share):.2f}" if values else _NONE
