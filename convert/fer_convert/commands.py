"""Arguments of ``fer-edge convert``; the work is imported when the command runs."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from fer_edge.cli import Command


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a .keras file, the folder of a finished run, or a bundle, whose variants are then copied",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="folder of the bundle to make")
    parser.add_argument("--variants", nargs="+", metavar="V", help="default: float32 int8 (of a bundle: all it has)")
    parser.add_argument("--name", help="the bundle's name (default: the recipe's)")
    parser.add_argument("--model-version", type=_version, metavar="X.Y.Z", help="the bundle's version (default: 1.0.0)")
    parser.add_argument(
        "--min-recall",
        nargs="+",
        type=_floor,
        default=[],
        metavar="LABEL=SHARE",
        help="raise a rare class's logit until the Keras model has this recall on PublicTest, such as disgust=0.5; "
        "rounding to int8 may cost an image of it",
    )
    parser.add_argument(
        "--gate",
        type=Path,
        metavar="TOML",
        help="rules that the result must keep; when it does not, exit 1 and no bundle (convert/gate.toml is one)",
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="FER2013 (default: as for fer-edge data)")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is already there")


def _version(text: str) -> str:
    if not re.fullmatch(r"\d{1,4}\.\d{1,4}\.\d{1,4}", text, flags=re.ASCII):
        raise argparse.ArgumentTypeError(f"must be three numbers such as 1.2.0, not {text!r}")
    return text


def _floor(text: str) -> tuple[str, float]:
    label, _, share = text.partition("=")
    if not label or not re.fullmatch(r"0?\.\d{1,6}|0|1(\.0*)?", share, flags=re.ASCII):
        raise argparse.ArgumentTypeError(f"must be a label and a share of 0..1, such as disgust=0.5, not {text!r}")
    return label, float(share)


def _run(arguments: argparse.Namespace) -> int:
    from fer_convert.convert_command import run

    return run(arguments)


CONVERT = Command("make a model bundle (float32, int8) from a Keras model", _configure, _run)
