"""Tables and notes about whole frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fer_bench.results.pipeline import CellResult, PipelineSection
from fer_bench.tables import Table, percent

_NONE = "-"
_COSTS: tuple[tuple[str, Callable[[CellResult], str]], ...] = (
    ("p50 ms", lambda cell: f"{cell.frame.p50_ms:.1f}"),
    ("p95 ms", lambda cell: f"{cell.frame.p95_ms:.1f}"),
    ("p99 ms", lambda cell: f"{cell.frame.p99_ms:.1f}"),
    ("fps", lambda cell: f"{cell.fps:.1f}"),
    ("CPU ms", lambda cell: f"{cell.cpu_ms:.1f}"),
    ("CPU × ours", lambda cell: f"{cell.cpu_over_ours:.1f}"),
    ("RSS MiB", lambda cell: _mib(cell.rss_steady_mib)),
    ("peak MiB", lambda cell: _mib(cell.rss_peak_mib)),
)
_ANSWERS: tuple[tuple[str, Callable[[CellResult], str]], ...] = (
    ("recall %", lambda cell: _share(cell.answers.matched, cell.answers.shown)),
    ("false/frame", lambda cell: f"{cell.answers.false_boxes / cell.frame.count:.3f}"),
    ("right % of found", lambda cell: _share(cell.answers.right, cell.answers.matched)),
    ("right % of shown", lambda cell: _share(cell.answers.right, cell.answers.shown)),
    ("uncertain %", lambda cell: _share(cell.answers.uncertain, cell.answers.matched)),
)
_STAGES = ("p50 ms", "p95 ms", "p99 ms", "calls")
_NAMES = ("size", "faces", "candidate")


def tables(section: PipelineSection) -> list[Table]:
    """Return tables of costs, answers, and the stages of each cell."""
    cells = section.results
    return [
        _of_cells(cells, _COSTS, "Whole frames: cost"),
        _of_cells(cells, _ANSWERS, "Whole frames: faces found and labels"),
        _of_stages(cells),
    ]


def _of_cells(
    cells: Sequence[CellResult], columns: Sequence[tuple[str, Callable[[CellResult], str]]], title: str
) -> Table:
    """Return a row for each cell and candidate, without columns that were not measured."""
    kept = [(name, show) for name, show in columns if any(show(cell) != _NONE for cell in cells)]
    rows = [[*_named(cell), *(show(cell) for _, show in kept)] for cell in cells]
    return Table([*_NAMES, *(name for name, _ in kept)], rows, len(_NAMES), title)


def _of_stages(cells: Sequence[CellResult]) -> Table:
    rows = [
        [*_named(cell), name, f"{stage.p50_ms:.3f}", f"{stage.p95_ms:.3f}", f"{stage.p99_ms:.3f}", str(stage.count)]
        for cell in cells
        for name, stage in cell.stages.items()
    ]
    return Table([*_NAMES, "stage", *_STAGES], rows, len(_NAMES) + 1, "Whole frames: each stage")


def _named(cell: CellResult) -> list[str]:
    return [f"{cell.width}x{cell.height}", str(cell.faces), cell.candidate]


def _share(part: int | None, whole: int) -> str:
    return _NONE if part is None or not whole else percent(part / whole)


def _mib(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0f}"


def notes(section: PipelineSection) -> list[str]:
    """Return how it was measured, one line each."""
    how, source = section.settings, section.face_source
    lines = []
    for candidate in section.candidates:
        versions = ", ".join(f"{name} {version}" for name, version in candidate.versions.items())
        lines.append(f"{candidate.name}: {candidate.how}; {versions}; ready after {candidate.start_s:.1f} s")
    lines += section.left_out
    lines.append(
        f"rounds: {how.rounds}, each with {how.frames} frames of a row, at {how.fps:g} a second of the scene's time; "
        "candidates take turns"
    )
    people = max((cell.answers.distinct for cell in section.results), default=0)
    if source.rows_sha256 is None:
        lines.append("faces: the demo's portrait, which has no label: only recall is measured")
    else:
        lines.append(f"faces: {source.name}, at random; at most {people} in a row of the table: too few to rank models")
    lines.append(
        "CPU: of the whole process, for a frame; RSS: in the first round; stage times are of a call, not of a frame"
    )
    return lines
