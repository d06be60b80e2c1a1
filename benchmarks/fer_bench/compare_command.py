"""``fer-edge bench compare A.json B.json``: exit code 1 when something really got worse."""

from __future__ import annotations

import argparse
import dataclasses
import json

from msgspec import structs

from fer_bench.compare import Comparison, compare_reports
from fer_bench.results import load_report
from fer_bench.tables import text_table
from fer_edge.errors import CheckFailedError
from fer_edge.system.messages import print_text

_MOST_TOLD = 5
"""Of what got worse, in the line that ends the command; the table has all of it."""


def run(arguments: argparse.Namespace) -> int:
    """Compare and print. Raises CheckFailedError when the second report is worse, InputError for a file that is no
    report."""
    found = compare_reports(load_report(arguments.before), load_report(arguments.after))
    print_text(_to_json(found) if arguments.as_json else _to_text(found))
    if found.worse:
        told = "; ".join(f"{change.what} {change.change}" for change in found.worse[:_MOST_TOLD])
        if len(found.worse) > _MOST_TOLD:
            told += f"; and {len(found.worse) - _MOST_TOLD} more"
        raise CheckFailedError(f"{arguments.after}: worse than {arguments.before}: {told}")
    return 0


def _to_json(found: Comparison) -> str:
    return json.dumps({"format": 1, **dataclasses.asdict(found)}, indent=2, default=structs.asdict) + "\n"


def _to_text(found: Comparison) -> str:
    rows = [
        [change.what, change.verdict, change.before, change.after, change.change, change.evidence]
        for change in found.changes
    ]
    table = text_table(["", "verdict", "before", "after", "change", "evidence"], rows, names=2)
    return table + "".join(f"{note}\n" for note in found.notes)
