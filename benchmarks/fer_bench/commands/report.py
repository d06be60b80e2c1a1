"""``fer-edge bench report``: write a page about one or more reports."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import msgspec

from fer_bench import output
from fer_bench.report.page import MARKDOWN, PAGE, write_page
from fer_bench.results import BenchmarkReport, load_report
from fer_edge.system.messages import print_text


def run(arguments: argparse.Namespace) -> int:
    """Run ``bench report`` and return the exit code."""
    reports = joined([load_report(path) for path in arguments.reports])
    output.check_folder(arguments.out)
    write_page(reports, arguments.out)
    print_text(f"{arguments.out / PAGE}\n{arguments.out / MARKDOWN}\n")
    return 0


def joined(reports: Sequence[BenchmarkReport]) -> list[BenchmarkReport]:
    """Join the reports of one bundle on one machine: accuracy, latency, frames and sequences may be in several files.

    Reports with the same part, on other data, or of other model files are not joined: there may be two boards of one
    model.
    """
    found: list[BenchmarkReport] = []
    for report in reports:
        for place, other in enumerate(found):
            if _belong_together(other, report):
                found[place] = _join(other, report)
                break
        else:
            found.append(report)
    return found


def _belong_together(one: BenchmarkReport, other: BenchmarkReport) -> bool:
    if (one.bundle, one.host) != (other.bundle, other.host):
        return False
    if one.dataset is not None and other.dataset is not None:
        return False
    files = {row.variant: row.sha256 for row in one.results}
    if any(files.get(row.variant, row.sha256) != row.sha256 for row in other.results):
        return False
    return (
        not (one.latency and other.latency)
        and not (one.pipeline and other.pipeline)
        and not (one.sequence and other.sequence)
    )


def _join(one: BenchmarkReport, other: BenchmarkReport) -> BenchmarkReport:
    rows = {row.variant: row for row in one.results}
    for row in other.results:
        if row.accuracy or row.variant not in rows:
            rows[row.variant] = row
    parts = {
        name: getattr(one, name) or getattr(other, name)
        for name in ("dataset", "latency", "latency_settings", "machine", "pipeline", "sequence")
    }
    return msgspec.structs.replace(one, results=tuple(rows.values()), **parts)
