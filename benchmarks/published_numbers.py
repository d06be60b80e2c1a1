"""Write the tables of README.md, the page of numbers and the model cards from the committed reports.

`make bench` runs it at its end.

    python benchmarks/published_numbers.py [--check]

With --check it writes nothing, and exits with 1 if one of them contains other numbers than the reports.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_bench.pipeline.candidates import FER_EDGE, TUTORIAL, TUTORIAL_TFLITE
from fer_bench.results import AccuracyResult, BenchmarkReport, HostInfo, LatencyRow, VariantResult, load_report
from fer_bench.results.mcu import McuReport, McuResult, load_mcu_report
from fer_bench.results.pipeline import CellResult
from fer_bench.results.sequence import FER_EDGE as MOVING
from fer_bench.results.sequence import FULL_SEARCHES, FaceFrames, Score, total
from fer_bench.tables import markdown_table, percent
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.model.bundle import load_bundle
from fer_edge.system.files import write_text_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS, MODELS, README = ROOT / "benchmarks" / "results", ROOT / "models", ROOT / "README.md"
PAGE = ROOT / "docs" / "explanation" / "numbers.md"
MCU_PAGE, MCU_REPORT = ROOT / "docs" / "how-to" / "microcontroller.md", RESULTS / "mcu" / "cortex-m3.json"
CARD = "MODEL_CARD.md"
"""The name that fer_convert gives to a model card. Not imported: that package is above this one."""
MACHINE = "x86_64"
"""The tables use the reports of this architecture."""
BEGIN, END = "<!-- numbers: make bench -->\n", "<!-- end of numbers -->\n"
BUNDLES = ("fer-edge-m", "fer-edge-s", "fer-edge-xs")
COLUMNS = tuple((bundle, variant) for bundle in BUNDLES for variant in ("float32", "int8"))
ON_MCU = ("fer-edge-xs", "fer-edge-s")
"""The bundles that fit a microcontroller."""
SHORT = (
    "file",
    "PrivateTest top-1, 95 % interval",
    "agrees with float32 on PrivateTest (McNemar p)",
    "one inference, one thread, p50 / p95 / p99 ms",
    "time over its float32's, same run",
)
"""The rows of README.md."""
OTHERS = {
    TUTORIAL: "the loop of the tutorials (`detectMultiScale` on the whole frame, then Keras' `predict`)",
    TUTORIAL_TFLITE: "the loop of the tutorials (`detectMultiScale` on the whole frame, then a `.tflite`)",
    "fer": "the `fer` package",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One variant of one bundle: its measurements, and the size of its network."""

    host: HostInfo
    variant: VariantResult
    latency: LatencyRow
    params: int
    macs: int

    def on(self, split: str) -> AccuracyResult:
        """Return the accuracy on ``split``."""
        return next(found for found in self.variant.accuracy if found.split == split)


def readme_block() -> str:
    """Return the block of README.md: a few rows of what the device runs."""
    return f"{_rows([column for column in COLUMNS if column[1] == 'int8'], SHORT)}\n"


def page_block() -> str:
    """Return the block of the page of numbers: all columns, the machine, whole frames, and moving faces."""
    return f"{_table(COLUMNS)} {_whole_frames()}\n\n{_moving_faces()}\n"


def card_block(bundle: str) -> str:
    """Return the block of a model card: the columns of its bundle."""
    measured = _table([column for column in COLUMNS if column[0] == bundle])
    mcu = f"\n## On a microcontroller\n\n{_on_mcu((bundle,))}" if bundle in ON_MCU else ""
    return f"## Measured at the release\n\n{measured}\n{mcu}"


def mcu_block() -> str:
    """Return the block of the page about microcontrollers: memory of all bundles."""
    return _on_mcu(ON_MCU)


def replaced(text: str, block: str, path: Path) -> str:
    """Return ``text`` with ``block`` between the two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{path}: the marks around the numbers are missing: {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}{block}{END}{after}"


def documents() -> dict[Path, str]:
    """Return the text that each document with numbers should have."""
    found = {
        path: replaced(path.read_text(encoding="utf-8"), block(), path)
        for path, block in ((README, readme_block), (PAGE, page_block), (MCU_PAGE, mcu_block))
    }
    for bundle in BUNDLES:
        card = MODELS / bundle / CARD
        text = card.read_text(encoding="utf-8")
        if BEGIN not in text:  # convert has just written it
            text = f"{text}\n{BEGIN}{END}"
        found[card] = replaced(text, card_block(bundle), card)
    return found


def _rows(chosen: Sequence[tuple[str, str]], names: Sequence[str] | None = None) -> str:
    """Return a table with the columns ``chosen`` and the rows ``names``; None for all."""
    columns = [_column(bundle, variant) for bundle, variant in chosen]
    rows = [[name, *(show(column) for column in columns)] for name, show in ROWS if names is None or name in names]
    return markdown_table(["", *(f"{bundle} {variant}" for bundle, variant in chosen)], rows)


def _table(chosen: Sequence[tuple[str, str]]) -> str:
    columns = [_column(bundle, variant) for bundle, variant in chosen]
    hosts = dict.fromkeys(f"{column.host.chip}, {column.latency.runtime}" for column in columns)
    measured = "; ".join(hosts)
    return f"{_rows(chosen)}\nMeasured on {measured}, one thread."


def _whole_frames() -> str:
    """Return a sentence about the processor time of a frame, compared with others."""
    section = load_report(RESULTS / f"pipeline-{MACHINE}.json").pipeline
    if section is None:
        raise InputError("the report of whole frames contains none: make bench")
    cells = {cell.candidate: cell for cell in section.results if (cell.width, cell.height, cell.faces) == (640, 480, 1)}
    ours = cells[FER_EDGE]
    others = [(called, cells[name]) for name, called in OTHERS.items() if name in cells]
    times = ", ".join(f"{called} {cell.cpu_over_ours:.1f} times as much" for called, cell in others)
    shares = " and ".join([_found(ours), ", ".join(_found(cell) for _, cell in others)])
    return (
        f"A whole frame of 640×480 with one face takes FER-Edge {ours.cpu_ms:.1f} ms of processor time, and {times}; "
        f"of the faces shown they find {shares} %."
    )


def _moving_faces() -> str:
    """Return sentences about tracking, compared with a search of every frame."""
    section = load_report(RESULTS / f"sequence-{MACHINE}.json").sequence
    if section is None:
        raise InputError("the report of moving faces contains none: make bench")
    easy = {result.system: result.score for result in section.results if result.kind == "easy"}
    ours, (full, coarse) = total(section.results, MOVING), FULL_SEARCHES
    theirs = total(section.results, full)
    ratios = " and ".join(f"{easy[name].cpu_ms / easy[MOVING].cpu_ms:.0f}" for name in (full, coarse))
    told = percent(len(ours.by_answer.delays_s) / ours.by_answer.shown, 0)
    ghosts, false = (
        f"{_of_frames(ours_counted, ours)} % of the frames, against {_of_frames(theirs_counted, theirs)} %"
        for ours_counted, theirs_counted in (
            (ours.faces.ghost_frames, theirs.faces.ghost_frames),
            (ours.faces.false_frames, theirs.faces.false_frames),
        )
    )
    return (
        f"Of moving faces with known places and labels ({len(section.settings.kinds)} kinds of scenes made of "
        f"{section.cast.split}, `fer-edge bench sequence --final`), one easy face at 640×480 takes {ratios} times less "
        f"processor time than `detectMultiScale` on every frame at {full.removeprefix('full ')} and at "
        f"{coarse.removeprefix('full ')}. Over all of them FER-Edge finds {_share_found(ours.shared)} % of the "
        f"faces, the finer of these searches {_share_found(theirs.shared)} %. A box lies on the background, a ghost, "
        f"in {ghosts}; on no face by an overlap of one half in {false}. "
        f"FER-Edge reports {told} % of the changes that the classifier can see."
    )


def _on_mcu(bundles: Sequence[str]) -> str:
    """Return a table of the memory that int8 models need, and how it was measured."""
    report = load_mcu_report(MCU_REPORT)
    found = [_mcu_result(report, name) for name in bundles]
    rows = []
    for each in found:
        sizes = (each.model_bytes, each.code_bytes, each.arena_bytes, each.static_bytes)
        rows.append([each.bundle, *("not measured" if size is None else f"{size:,}" for size in sizes)])
    differences = ", ".join(f"{each.max_difference} for {each.golden} inputs of {each.bundle}" for each in found)
    header = ["bundle, int8", "model (flash)", "code (flash)", "arena (RAM)", "other variables (RAM)"]
    return (
        f"{markdown_table(header, rows)}\nBytes in TensorFlow Lite Micro on a {report.processor}, "
        f"{report.compiler} -Os (`make test-mcu`). Largest difference\nof an output from LiteRT's reference kernels: "
        f"{differences}.\n"
    )


def _mcu_result(report: McuReport, bundle: str) -> McuResult:
    with load_bundle(MODELS / bundle) as loaded:
        shipped = loaded.variant("int8").sha256
    for result in report.results:
        if (result.bundle, result.sha256) == (bundle, shipped):
            return result
    raise InputError(f"{MCU_REPORT}: has no result of the int8 file in models/{bundle}: make test-mcu, with --json")


def _share_found(found: FaceFrames) -> str:
    return percent(found.matched / found.shown, 0)


def _of_frames(frames: int, score: Score) -> str:
    return percent(frames / score.faces.frames, 1)


def _found(cell: CellResult) -> str:
    return percent(cell.answers.matched / cell.answers.shown, 0)


def _column(bundle: str, variant: str) -> Column:
    report: BenchmarkReport = load_report(RESULTS / f"{bundle}-{MACHINE}.json")
    with load_bundle(MODELS / bundle) as loaded:
        training = loaded.manifest.training
        shipped = loaded.variant(variant).sha256
    found = next(row for row in report.results if row.variant == variant)
    if found.sha256 != shipped:
        raise InputError(
            f"{bundle}: the report is about another {variant} file than the one in models/{bundle}: make bench"
        )
    latency = next(row for row in report.latency if (row.variant, row.engine, row.threads) == (variant, "litert", 1))
    return Column(report.host, found, latency, int(training["params"]), int(training["macs"]))


def _share(value: float) -> str:
    return f"{percent(value, 2)} %"


def _agreement(column: Column) -> str:
    found = column.on("PrivateTest")
    if found.agreement is None or found.mcnemar_p is None:
        return "–"
    return f"{percent(found.agreement)} % ({found.mcnemar_p:.2f})"


def _private(column: Column) -> str:
    found = column.on("PrivateTest")
    return f"{_share(found.accuracy)} ({percent(found.low)}–{percent(found.high)})"


def _part(name: str) -> Callable[[Column], str]:
    def show(column: Column) -> str:
        part = getattr(column.on("PrivateTest"), name)
        return "–" if part is None else _share(part.accuracy)

    return show


def _recall(label: str) -> Callable[[Column], str]:
    def show(column: Column) -> str:
        part = next(part for part in column.on("PrivateTest").classes if part.label == label)
        return "–" if part.recall is None else f"{percent(part.recall, 0)} %"

    return show


ROWS: tuple[tuple[str, Callable[[Column], str]], ...] = (
    ("parameters, multiply-accumulates", lambda column: f"{column.params / 1e6:.2f} M, {column.macs / 1e6:.1f} M"),
    ("file", lambda column: f"{column.variant.size_bytes / 1024:,.0f} KiB"),
    ("PublicTest top-1 (choices were made on it)", lambda column: _share(column.on("PublicTest").accuracy)),
    ("PrivateTest top-1, 95 % interval", _private),
    ("… without exact duplicates in other splits", _part("leak_free")),
    ("… nor near duplicates in Training", _part("distinct")),
    ("… mean of the image and its mirror image", _part("mirrored")),
    ("… mean of ten crops, as papers report it", _part("ten_crops")),
    ("… by the majority of ten raters (FER+)", _part("ferplus")),
    ("… recall of disgust", _recall("disgust")),
    ("… recall of fear", _recall("fear")),
    ("agrees with float32 on PrivateTest (McNemar p)", _agreement),
    ("calibration error (ECE), PrivateTest", lambda column: f"{percent(column.on('PrivateTest').ece)} %"),
    (
        "one inference, one thread, p50 / p95 / p99 ms",
        lambda column: f"{column.latency.p50_ms:.2f} / {column.latency.p95_ms:.2f} / {column.latency.p99_ms:.2f}",
    ),
    (
        "time over its float32's, same run",
        lambda column: "–" if column.latency.ratio is None else f"{column.latency.ratio:.2f}",
    ),
    ("memory of a process with the model loaded", lambda column: f"{column.latency.rss_loaded_mib:.0f} MiB"),
)


def main() -> int:
    """Write or check the documents."""
    parser = argparse.ArgumentParser(
        description="Write the numbers of README.md and the model cards from the committed reports."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if they contain other numbers")
    check: bool = parser.parse_args().check
    try:
        wanted = documents()
        stale = [path for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)}: {'contains other numbers' if check else 'written'}\n")
            if not check:
                write_text_atomically(path, wanted[path])
    except FerEdgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
