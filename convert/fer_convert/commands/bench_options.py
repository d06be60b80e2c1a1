"""Options that ``fer-edge bench layers`` and ``bench study`` share with ``fer-edge bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_bench import output
from fer_bench.extras import require


def given(arguments: argparse.Namespace, option: str) -> Path | None:
    """Return the path of an option that may be before or after the subcommand; None if it was not given."""
    path: Path | None = getattr(arguments, option, None)
    return path


def check_outputs(json_path: Path | None, folder: Path | None) -> None:
    """Raise OutputError or MissingExtraError before the measurement if its result cannot be written or drawn."""
    require("statsmodels")
    if json_path is not None and json_path != output.STDOUT:
        output.check_writable(json_path)
    if folder is not None:
        require("matplotlib")
        output.check_folder(folder)
