"""Write the page about Raspberry Pi boards: published speeds, what follows from them, and measured results.

    python docs/write_boards.py

writes docs/explanation/boards.md from ``boards.py``, the released bundles and the reports in
benchmarks/results/devices; ``make boards`` calls it. A test compares the page with what this program writes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import boards
from boards import BOARDS, FRAMES, PUBLISHED
from reference_pages import write

from fer_bench.pipeline.candidates import FER_EDGE
from fer_bench.results import BenchmarkReport, LatencyRow, load_report
from fer_bench.tables import markdown_table
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.model.manifest import read_manifest

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "explanation" / "boards.md"
DEVICES = ROOT / "benchmarks" / "results" / "devices"
BUNDLES = ("fer-edge-m", "fer-edge-s", "fer-edge-xs")
SIZES = ((320, 240), (640, 480))
"""The frames that ``fer-edge bench device`` shows."""

PAGE = """\
# What a Raspberry Pi does

The developers of FER-Edge have no Raspberry Pi. This page lists what users have measured, what others have published
about the boards, and what follows from it for the released bundles. It is written by `make boards`.

## Measured

{measured}
To add your board, run this on it, in a checkout and with nothing else running, once for each bundle:

    fer-edge bench device --bundle models/fer-edge-s --out pi-4-fer-edge-s.json

It takes some minutes. Copy the file into [benchmarks/results/devices](../../benchmarks/results/devices), run
`make boards`, and send both as a pull request. The file contains the board's model, versions and times, but no name,
address, path or serial number. The tests compare the file with the
[schema of reports](../../benchmarks/fer_bench/schema/report.schema.json), and this page with the files.

## Published

The mean time of one inference in milliseconds, as the sources state it:

{published}
{sources}
XNNPACK is the library that runs the models in LiteRT. TensorFlow Lite 2.5.0 ran int8 without it; these times only
serve to compare boards and numbers of threads. OpenCV uses all four cores by default.

int8 takes {int8_3:.2f} times as long as float32 on a Pi 3 B+ and {int8_4:.2f} times on a Pi 4 (MobileNet v2), which
have no int8 dot products, and {int8_5:.2f} times on a Pi 5 (EfficientDet-Lite0), which has them.

## Calculated: one face

Estimates for int8 on one core, FER-Edge's default. They are not measurements:

{faces}
1. The speed of four cores is MACs / time of MobileNet v2, which has {v2_macs:.0f} M multiply-accumulates
   ([Sandler et al., 2018](https://arxiv.org/abs/1801.04381)). Calculated from MobileNet v1 ({v1_macs:.0f} M,
   [Howard et al., 2017](https://arxiv.org/abs/1704.04861)), the speed of a Pi 4 is {v1_over_v2:.1f} times as high.
2. The speed of one core is this × the time of EfficientDet-Lite0 in int8 with four threads / with one thread.
3. A Pi 5 is faster than a Pi 4 by the ratio of their times of EfficientDet-Lite0 in int8 with one thread.
4. A Zero 2 W has the cores of a Pi 3 B+, and is slower by the ratio of their clocks: {zero_ghz} and {three_ghz} GHz
   ([Zero 2 W](https://www.raspberrypi.com/products/raspberry-pi-zero-2-w/),
   [3 B+](https://www.raspberrypi.com/products/raspberry-pi-3-model-b-plus/)).
5. The time of one face is MACs of the bundle / speed of one core. This omits the fixed cost of each layer, which
   matters in a small network: on x86-64, fer-edge-xs reaches {small_share:.0%} of the speed of fer-edge-s, so its
   times are probably longer than calculated.

## Calculated: one frame

None of these sources has a time for the default detector, a Haar cascade. The other detector, YuNet, is a network,
whose time is proportional to the number of pixels. Estimates for one core:

{frames}
1. Search: {yunet_ms} ms × (width × height) / (160 × 120) × (time of EfficientDet-Lite0 in float32 with one thread on
   the board / with four threads on a Pi 4, both with the same version of TensorFlow Lite). A Zero 2 W is slower than a
   Pi 3 B+ by the ratio of their clocks.
2. Interval: search / {share}. This is how often the whole frame can be searched at its full size with the default
   `schedule.budget_share`. [The schedule](schedule.md) reduces frames, divides them into tiles, and mostly searches
   only the regions around known faces, so that most searches are shorter.
3. Frames per second: 1 / (search + time of one face). This is the slowest case: every frame is searched as a whole at
   its full size, and one face is classified in each.
"""


def page(reports: Path = DEVICES) -> str:
    """Return the text of boards.md. Raises InputError if a file in ``reports`` is not a report of a device."""
    macs = {name: int(read_manifest(ROOT / "models" / name).training["macs"]) for name in BUNDLES}
    small, large = _x86_speed("fer-edge-xs"), _x86_speed("fer-edge-s")
    return PAGE.format(
        measured=measured(reports),
        published=_published(),
        sources="".join(f"[{name}]: {url}\n" for name, url in boards.SOURCES.items()),
        faces=_faces(macs),
        frames=_frames(macs),
        v1_macs=boards.MACS[boards.V1] / 1e6,
        v2_macs=boards.MACS[boards.V2] / 1e6,
        v1_over_v2=boards.macs_per_s(boards.PI_4, boards.V1) / boards.macs_per_s(boards.PI_4),
        zero_ghz=boards.CLOCK_GHZ[boards.ZERO_2],
        three_ghz=boards.CLOCK_GHZ[boards.PI_3],
        small_share=small / large,
        yunet_ms=boards.published_ms(boards.PI_4, boards.YUNET, "float32", 4),
        int8_3=boards.int8_over_float32(boards.PI_3),
        int8_4=boards.int8_over_float32(boards.PI_4),
        int8_5=boards.int8_over_float32(boards.PI_5),
        share=boards.SEARCH_SHARE,
    )


def measured(folder: Path) -> str:
    """Return a table with a row for each report in ``folder``, or a sentence if there is none."""
    rows = [_row(path) for path in sorted(folder.glob("*.json"))]
    if not rows:
        return "Nothing yet.\n"
    header = [
        "board",
        "software",
        "bundle",
        "face, ms",
        "over float32",
        *map(_frame_header, SIZES),
        "throttled",
        "file",
    ]
    return (
        "Face: the median time of one int8 inference on one core. Frame: the processor time of the whole program for\n"
        "a frame with one face. Throttled: rounds in which heat or low voltage slowed the board down.\n\n"
        + markdown_table(header, rows, names=3)
    )


def _row(path: Path) -> list[str]:
    report = load_report(path)
    face = _one_core(report, path)
    link = os.path.relpath(path, FILE.parent)
    return [
        report.host.chip,
        f"{face.runtime}, Python {report.host.python}",
        f"{report.bundle.name} {report.bundle.version}",
        f"{face.p50_ms:.2f}",
        "–" if face.ratio is None else f"{face.ratio:.2f}",
        *(f"{_frame_ms(report, path, *size):.1f}" for size in SIZES),
        "unknown" if face.throttled_rounds is None else str(face.throttled_rounds),
        f"[{path.name}]({link})",
    ]


def _frame_header(size: tuple[int, int]) -> str:
    return f"frame {size[0]}×{size[1]}, ms"


def _one_core(report: BenchmarkReport, path: Path) -> LatencyRow:
    for row in report.latency:
        if (row.variant, row.engine, row.threads) == ("int8", "litert", 1):
            return row
    raise InputError(f"{path}: has no int8 model on one core: use a file of fer-edge bench device")


def _frame_ms(report: BenchmarkReport, path: Path, width: int, height: int) -> float:
    cells = () if report.pipeline is None else report.pipeline.results
    for cell in cells:
        if (cell.candidate, cell.width, cell.height, cell.faces) == (FER_EDGE, width, height, 1):
            return cell.cpu_ms
    raise InputError(f"{path}: has no whole frames of {width}×{height}: use a file of fer-edge bench device")


def _published() -> str:
    rows = [
        [
            f"[{each.software}][{each.source}]",
            each.board,
            each.network,
            each.precision,
            str(each.threads),
            f"{each.ms:g}",
        ]
        for each in PUBLISHED
    ]
    return markdown_table(["source", "board", "network", "precision", "threads", "ms"], rows, names=4)


def _faces(macs: dict[str, int]) -> str:
    rows = []
    for board in BOARDS:
        times = [f"{boards.face_ms(board, count):.1f}" for count in macs.values()]
        rows.append([board, f"{boards.macs_per_s(board) / 1e9:.1f}", *times])
    names = (f"{name}, ms ({count / 1e6:.1f} M MACs)" for name, count in macs.items())
    return markdown_table(["board", "one core, G MAC/s", *names], rows)


def _frames(macs: dict[str, int]) -> str:
    rows = []
    for board in BOARDS:
        for width, height in FRAMES:
            search = boards.search_ms(board, width, height)
            rates = [f"{1e3 / (search + boards.face_ms(board, count)):.1f}" for count in macs.values()]
            interval = f"{search / boards.SEARCH_SHARE / 1e3:.2f}"
            rows.append([board, f"{width}×{height}", f"{search:.0f}", interval, *rates])
    names = (f"frames/s, {name}" for name in macs)
    return markdown_table(["board", "frame", "search, ms", "interval, s", *names], rows, names=2)


def _x86_speed(bundle: str) -> float:
    path = ROOT / "benchmarks" / "results" / f"{bundle}-x86_64.json"
    found = _one_core(load_report(path), path).mac_per_s
    assert found is not None, "the manifest counts them"
    return found


def pages() -> dict[Path, str]:
    """Return the text of each file that this program writes."""
    return {FILE: page()}


if __name__ == "__main__":
    try:
        write(pages())
    except FerEdgeError as error:
        sys.exit(str(error))
