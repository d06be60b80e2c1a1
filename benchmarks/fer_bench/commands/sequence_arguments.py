"""The arguments of ``fer-edge bench sequence``. Imports nothing heavy."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from fer_edge.commands.cli import Command, add_file

_QUICK_SECONDS = 8
"""Enough for one change of label in every sequence."""


def _configure(parser: argparse.ArgumentParser) -> None:
    # Options that `bench` also has get no default here: it would override a value before the subcommand.
    for flag, metavar, text in (
        ("--bundle", "DIR", "bundle (default: models/fer-edge-s, else the shipped one)"),
        ("--data", "PATH", "FER2013, for its faces (default: where `fer-edge data` looks)"),
        ("--json", "OUT", "write the report as JSON; - for standard output"),
        ("--markdown", "OUT", "write the report as Markdown; - for standard output"),
    ):
        parser.add_argument(flag, type=Path, default=argparse.SUPPRESS, metavar=metavar, help=text)
    parser.add_argument(
        "--final",
        action="store_true",
        default=argparse.SUPPRESS,
        help="use faces of PrivateTest: for a number to publish, never for a choice; needs --public",
    )
    parser.add_argument(
        "--public", type=Path, metavar="FILE", help="with --final: the report of the same code on PublicTest"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write sequence.json, sequence.md and plots into DIR")
    add_file(parser, "--settings", help="settings of FER-Edge, as `run` takes them")
    parser.add_argument(
        "--yunet", type=Path, metavar="FILE", help="YuNet's model file (detector.model): also measure that detector"
    )
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="kinds of sequences (default: all)")
    parser.add_argument("--seconds", type=_number(4, 3600), default=24, metavar="S", help="of each (default: 24)")
    parser.add_argument("--rounds", type=_number(1, 1000), default=1, metavar="N", help="with other faces (default: 1)")
    parser.add_argument(
        "--baseline-every",
        type=_number(0, 1000),
        default=5,
        metavar="N",
        help="full searches, which are slow, see one second in N; 0: none (default: 5)",
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{_QUICK_SECONDS} seconds of each, without the table of costs"
    )
    parser.add_argument("--no-costs", action="store_true", help="leave out the costs by number of faces and frame size")


def _run(arguments: argparse.Namespace) -> int:
    from fer_bench.commands import sequence

    if arguments.quick:
        arguments.seconds, arguments.no_costs = min(arguments.seconds, _QUICK_SECONDS), True
    return sequence.run(arguments)


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text, flags=re.ASCII) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a number from {low} to {high}, not {text!r}")
        return int(text)

    return parse


SEQUENCE = Command(
    "moving faces with known positions and labels: FER-Edge against a full search of every frame", _configure, _run
)
