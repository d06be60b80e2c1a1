"""Options and outputs of the commands that measure models here: ``bench layers``, ``bench study``, ``profile``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from fer_bench import output
from fer_bench.extras import require
from fer_edge.system.messages import print_text


def given(arguments: argparse.Namespace, option: str) -> Path | None:
    """Return the path of an option that may be before or after the subcommand; None if it was not given."""
    path: Path | None = getattr(arguments, option, None)
    return path


def check_outputs(json_path: Path | None, folder: Path | None) -> None:
    """Raise OutputError or MissingExtraError before the measurement if its result cannot be written or drawn."""
    output.check_files(json_path)
    if folder is not None:
        require("matplotlib")
        output.check_folder(folder)


def deliver(
    name: str, table: str, text: str, draw: Callable[[Path], None], json_path: Path | None, folder: Path | None
) -> None:
    """Write a report to its files, and print it.

    Args:
        name: Name of the files in ``folder``, without their suffixes.
        table: The report as JSON.
        text: The report as text.
        draw: Draws the report into the file that it is called with.
        json_path: File for the JSON, or ``STDOUT`` to print it instead of ``text``; None for neither.
        folder: Folder for JSON and picture; None for neither.

    Raises:
        OutputError: If a file cannot be written.
    """
    if folder is not None:
        output.write(folder / f"{name}.json", table)
        draw(folder / f"{name}.png")
    if json_path is not None and json_path != output.STDOUT:
        output.write(json_path, table)
    print_text(table if json_path == output.STDOUT else text)
