"""``fer-edge bench report``: reports to a page."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_bench import output
from fer_bench.page import MARKDOWN, PAGE, write_page
from fer_bench.results import BenchmarkReport, load_report
from fer_edge.errors import InputError


def run(arguments: argparse.Namespace) -> int:
    """Read, join what belongs together, draw; prints the page's path. Raises InputError, OutputError."""
    reports = joined([(path, load_report(path)) for path in arguments.reports])
    output.check_folder(arguments.out)
    write_page(reports, arguments.out)
    sys.stdout.write(f"{arguments.out / PAGE}\n{arguments.out / MARKDOWN}\n")
    return 0


def joined(reports: Sequence[tuple[Path, BenchmarkReport]]) -> list[BenchmarkReport]:
    """One report for each bundle on each machine: accuracy, latency and whole frames may stand in files of their own.

    Raises InputError, naming the file, when two hold the same.
    """
    found: dict[object, BenchmarkReport] = {}
    for path, report in reports:
        key = (report.bundle, report.host.cpu, report.host.machine)
        found[key] = _join(found[key], report, path) if key in found else report
    return list(found.values())


def _join(first: BenchmarkReport, second: BenchmarkReport, path: Path) -> BenchmarkReport:
    parts = {}
    for name in ("latency", "latency_settings", "machine", "pipeline", "dataset"):
        one, other = getattr(first, name), getattr(second, name)
        if one and other and name != "dataset":
            raise InputError(
                f"{path}: holds the {name} of {first.bundle.name} on this machine once more; give one file"
            )
        parts[name] = one or other
    rows = {row.variant: row for row in first.results}
    for row in second.results:
        if row.accuracy and row.variant in rows and rows[row.variant].accuracy:
            raise InputError(f"{path}: holds the accuracy of {row.variant} once more; give one file")
        if row.accuracy or row.variant not in rows:
            rows[row.variant] = row
    return dataclasses.replace(first, results=tuple(rows.values()), **parts)
