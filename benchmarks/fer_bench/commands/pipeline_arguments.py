"""The arguments of ``fer-edge bench pipeline``. Imports nothing heavy."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from fer_edge.commands.cli import Command, deferred

_MIN_SIDE, _MAX_SIDE = 160, 4096
"""Width and height of a frame in pixels. In a smaller frame, faces are too small for any detector."""
_MAX_FACES = 6
_MIN_FRAMES = 5


def _configure(parser: argparse.ArgumentParser) -> None:
    # Options that `bench` also has get no default here: it would override a value before the subcommand.
    for flag, metavar, text in (
        ("--bundle", "DIR", "bundle (default: models/fer-edge-s, else the shipped one)"),
        ("--data", "PATH", "FER2013, for its faces (default: where `fer-edge data` looks; without any, a portrait)"),
        ("--json", "OUT", "write the report as JSON; - for standard output"),
        ("--markdown", "OUT", "write the report as Markdown; - for standard output"),
    ):
        parser.add_argument(flag, type=Path, default=argparse.SUPPRESS, metavar=metavar, help=text)
    sizes, faces = [(320, 240), (640, 480), (1280, 720)], [0, 1, 3]
    parser.add_argument("--sizes", nargs="+", type=_size, default=sizes, metavar="WxH", help="sizes of the frames")
    parser.add_argument("--faces", nargs="+", type=_faces, default=faces, metavar="N", help="faces in the picture")
    parser.add_argument("--frames", type=_frames, default=45, metavar="N", help="frames of a scene (default: 45)")
    parser.add_argument("--rounds", type=_rounds, default=4, metavar="N", help="rounds over all (default: 4)")
    parser.add_argument("--keras", type=Path, metavar="MODEL", help="the tutorial's model: .keras, or a run's folder")
    parser.add_argument("--fer", type=Path, metavar="PYTHON", help="Python of an environment with the fer package")
    parser.add_argument(
        "--save-scenes", type=Path, metavar="DIR", help="write a picture of each scene, which shows people, into DIR"
    )


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text, flags=re.ASCII)
    if not found or not all(_MIN_SIDE <= int(side) <= _MAX_SIDE for side in found.groups()):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, each {_MIN_SIDE} to {_MAX_SIDE} pixels, not {text!r}")
    return int(found[1]), int(found[2])


def _faces(text: str) -> int:
    return _number(text, 0, _MAX_FACES)


def _frames(text: str) -> int:
    return _number(text, _MIN_FRAMES, 100_000)


def _rounds(text: str) -> int:
    return _number(text, 1, 100_000)


def _number(text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"\d{1,9}", text, flags=re.ASCII) or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"must be a number from {low} to {high}, not {text!r}")
    return int(text)


PIPELINE = Command(
    "whole frames: FER-Edge against the tutorials' pipeline and the fer package",
    _configure,
    deferred("fer_bench.commands.pipeline:run"),
)
