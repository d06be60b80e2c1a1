"""The arguments of ``bench pipeline`` and ``bench sequence``. Imports nothing heavy."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from fer_edge.commands.cli import Command, add_file, deferred

_MIN_SIDE, _MAX_SIDE = 160, 4096
"""Width and height of a frame in pixels. In a smaller frame, faces are too small for any detector."""
_MAX_FACES = 6
_MIN_FRAMES = 5
QUICK_SECONDS = 8
"""Enough for one change of label in every sequence."""


def _configure_pipeline(parser: argparse.ArgumentParser) -> None:
    _add_options(parser, "FER2013, for its faces (default: where `fer-edge data` looks; without any, a portrait)")
    sizes, faces = [(320, 240), (640, 480), (1280, 720)], [0, 1, 3]
    rounds = _number(1, 100_000)
    parser.add_argument("--sizes", nargs="+", type=_size, default=sizes, metavar="WxH", help="sizes of the frames")
    parser.add_argument(
        "--faces", nargs="+", type=_number(0, _MAX_FACES), default=faces, metavar="N", help="faces in the picture"
    )
    parser.add_argument(
        "--frames", type=_number(_MIN_FRAMES, 100_000), default=45, metavar="N", help="frames of a scene (default: 45)"
    )
    parser.add_argument("--rounds", type=rounds, default=4, metavar="N", help="rounds over all (default: 4)")
    parser.add_argument("--keras", type=Path, metavar="MODEL", help="the tutorial's model: .keras, or a run's folder")
    parser.add_argument("--fer", type=Path, metavar="PYTHON", help="Python of an environment with the fer package")
    parser.add_argument(
        "--save-scenes", type=Path, metavar="DIR", help="write a picture of each scene, which shows people, into DIR"
    )


def _configure_sequence(parser: argparse.ArgumentParser) -> None:
    _add_options(parser, "FER2013, for its faces (default: where `fer-edge data` looks)")
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
        "--quick", action="store_true", help=f"{QUICK_SECONDS} seconds of each, without the table of costs"
    )
    parser.add_argument("--no-costs", action="store_true", help="leave out the costs by number of faces and frame size")


def _add_options(parser: argparse.ArgumentParser, data_help: str) -> None:
    for flag, metavar, text in (
        ("--bundle", "DIR", "bundle (default: models/fer-edge-s, else the shipped one)"),
        ("--data", "PATH", data_help),
        ("--json", "OUT", "write the report as JSON; - for standard output"),
        ("--markdown", "OUT", "write the report as Markdown; - for standard output"),
    ):
        # Options that `bench` also has get no default here: it would override a value before the subcommand.
        parser.add_argument(flag, type=Path, default=argparse.SUPPRESS, metavar=metavar, help=text)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text, flags=re.ASCII)
    if not found or not all(_MIN_SIDE <= int(side) <= _MAX_SIDE for side in found.groups()):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, each {_MIN_SIDE} to {_MAX_SIDE} pixels, not {text!r}")
    return int(found[1]), int(found[2])


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text, flags=re.ASCII) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a number from {low} to {high}, not {text!r}")
        return int(text)

    return parse


PIPELINE = Command(
    "whole frames: FER-Edge against the tutorials' pipeline and the fer package",
    _configure_pipeline,
    deferred("fer_bench.commands.pipeline:run"),
)
SEQUENCE = Command(
    "moving faces with known positions and labels: FER-Edge against a full search of every frame",
    _configure_sequence,
    deferred("fer_bench.commands.sequence:run"),
)
