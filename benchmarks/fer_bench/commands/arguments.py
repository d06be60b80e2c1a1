"""The arguments of ``evaluate``, ``runs`` and ``bench``. The code of a command is imported when it runs."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_bench.commands.scene_arguments import PIPELINE, SEQUENCE
from fer_bench.latency.engines import ENGINES
from fer_edge.commands.argument_types import count
from fer_edge.commands.cli import Command, add_subcommands, deferred
from fer_ssh.options import add_ssh_options


def _configure_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="BUNDLE|MODEL", help="a bundle's folder or zip, or a .keras file")
    parser.add_argument("--variant", metavar="V", help="variant of a bundle (default: int8, else its first)")
    parser.add_argument("--data", type=Path, metavar="PATH", help=_DATA_HELP)
    parser.add_argument(
        "--split",
        default="PublicTest",
        metavar="SPLIT",
        help="PublicTest (default) or Training of FER2013; validation (default) or train of other data",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write confusion.png, reliability.png and evaluation.json into this folder",
    )


def _configure_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("runs"), metavar="DIR", help="folder with runs (default: runs)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _configure_bench(parser: argparse.ArgumentParser) -> None:
    _add_options(parser, {}, accuracy=True, latency=True)
    add_subcommands(
        parser,
        {
            "accuracy": Command(
                "accuracy, recall of each class, calibration and agreement of each variant",
                _options_of(accuracy=True, on=True),
                deferred("fer_bench.commands.accuracy:run"),
            ),
            "latency": Command(
                "latency, load time and memory of each variant; needs no data set",
                _options_of(latency=True, on=True),
                deferred("fer_bench.commands.latency:run"),
            ),
            "pipeline": PIPELINE,
            "sequence": SEQUENCE,
            "device": Command(
                "latency and whole frames of this device in one file to send; needs no data set",
                _configure_device,
                deferred("fer_bench.commands.device:run"),
            ),
            "report": Command(
                "a page with plots (HTML, and Markdown with PNGs) from the JSON of other runs",
                _configure_report,
                deferred("fer_bench.commands.report:run"),
            ),
            "compare": Command(
                "compare two JSON reports: significant changes, noise, inconclusive; exit code 1 if anything got worse",
                _configure_compare,
                deferred("fer_bench.commands.compare:run"),
            ),
            "all": Command(
                "accuracy and latency, as `fer-edge bench` without a subcommand",
                _options_of(accuracy=True, latency=True),
                deferred("fer_bench.commands.all:run"),
            ),
        },
        required=False,
    )


def _configure_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="JSON",
        help="file to write; contains no names, paths or serial numbers",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="bundle (default: models/fer-edge-s, else the one in the package, which has only int8: "
        "nothing to compare it with)",
    )
    parser.add_argument("--rounds", type=count, default=20, metavar="N", help="rounds over all (default: 20)")


def _configure_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reports",
        nargs="+",
        type=Path,
        metavar="REPORT",
        help="JSON of bench; those of one bundle on one machine are joined",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for report.html and report.md")


def _configure_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", type=Path, metavar="BEFORE", help="JSON of bench")
    parser.add_argument("after", type=Path, metavar="AFTER", help="JSON of bench")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the comparison as a page")
    # The --json of `bench` takes a file.
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON instead of a table")


def _options_of(
    *, accuracy: bool = False, latency: bool = False, on: bool = False
) -> Callable[[argparse.ArgumentParser], None]:
    def configure(parser: argparse.ArgumentParser) -> None:
        # Without defaults, so that a subcommand does not override a value before its name.
        _add_options(parser, {"default": argparse.SUPPRESS}, accuracy=accuracy, latency=latency)
        if on:
            help_on = "measure on this device, with the fer-edge that `fer-edge deploy` installed there"
            parser.add_argument("--on", metavar="USER@HOST", help=help_on)
            add_ssh_options(parser)

    return configure


def _add_options(parser: argparse.ArgumentParser, override: dict[str, Any], *, accuracy: bool, latency: bool) -> None:
    def add(flag: str, **options: Any) -> None:
        parser.add_argument(flag, **{**options, **override})

    add("--bundle", type=Path, metavar="DIR", help="bundle (default: models/fer-edge-s, else the shipped one)")
    add("--json", type=Path, metavar="OUT", help="write the report as JSON; - for standard output")
    add("--markdown", type=Path, metavar="OUT", help="write the report as Markdown; - for standard output")
    if accuracy:
        add("--data", type=Path, metavar="PATH", help=_DATA_HELP)
        add(
            "--final",
            action="store_true",
            help="also measure PrivateTest (of other data: test): for a number to publish, never for a choice",
        )
        add(
            "--groups",
            type=Path,
            metavar="CSV",
            help="also measure the accuracy in groups of images: columns split, row, and one for each attribute",
        )
        add(
            "--views",
            action="store_true",
            help="also average float32 and int8 over image and mirror image, and over ten crops, as papers do",
        )
    if latency:
        _add_latency_options(add)


def _add_latency_options(add: Callable[..., None]) -> None:
    add("--engines", type=_engines, metavar="E,E", help=f"of {', '.join(ENGINES)} (default: those that work here)")
    add("--threads", type=_counts, metavar="N,N", help="threads of the engine (default: 1 and all cores)")
    add(
        "--tflite-runtime",
        type=Path,
        metavar="PYTHON",
        help="Python that has tflite-runtime (default: .venv-legacy/bin/python)",
    )
    add("--rounds", type=count, default=20, metavar="N", help="rounds over all configurations (default: 20)")
    add("--runs", type=count, default=100, metavar="N", help="timed runs of a configuration a round (default: 100)")
    add(
        "--timeout",
        type=_seconds,
        default=300.0,
        metavar="S",
        help="seconds to wait for loading or for a round (default: 300)",
    )


def _counts(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(count(part) for part in text.split(",")))


def _engines(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not ENGINES.keys() >= set(names):
        raise ValueError
    return names


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= threading.TIMEOUT_MAX:  # the maximum of a timer; NaN is refused, too
        raise ValueError
    return seconds


# argparse shows these names in its messages.
_counts.__name__ = "list of counts (such as 1,2,4)"
_engines.__name__ = f"list of engines (of {', '.join(ENGINES)})"
_seconds.__name__ = "number of seconds"

_DATA_HELP = (
    "FER2013 as CSV, archive or folder, or a recipe with other sets (default: FER_EDGE_DATA, else ./data, "
    "else the user's cache)"
)

EVALUATE = Command(
    "accuracy, per-class scores, confusion matrix and calibration of one model",
    _configure_evaluate,
    deferred("fer_bench.commands.evaluate:run"),
)
BENCH = Command(
    "compare a bundle's variants: accuracy, agreement, size, latency, memory",
    _configure_bench,
    deferred("fer_bench.commands.all:run"),
)
RUNS = Command(
    "list training runs: recipe, accuracy, size, when, finished or not",
    _configure_runs,
    deferred("fer_bench.commands.runs:run"),
)
