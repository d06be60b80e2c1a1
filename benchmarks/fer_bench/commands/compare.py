"""``fer-edge bench compare A.json B.json``: exit code 1 if anything got significantly worse."""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap
from html import escape
from itertools import groupby

from msgspec import structs

from fer_bench import output
from fer_bench.report.compare import Change, Comparison, compare_reports
from fer_bench.report.page import html_document
from fer_bench.results import load_report
from fer_bench.tables import html_table, text_table
from fer_edge.errors import CheckFailedError
from fer_edge.system.messages import print_text, printable

_MAX_NAMED = 5
"""Number of quantities named in the message of a failed check; the table has all of them."""
_COLUMNS = 100
_HEADER = ["", "verdict", "before", "after", "change"]
_MEASURE_AGAIN = "Inconclusive: measure both again while nothing else runs on the machine."


def run(arguments: argparse.Namespace) -> int:
    """Compare, print and write the page.

    Raises:
        CheckFailedError: if the second report is worse.
        InputError: for a file that is not a report.
        OutputError: if the page cannot be written.
    """
    if arguments.html is not None:
        output.check_writable(arguments.html)
    found = compare_reports(load_report(arguments.before), load_report(arguments.after))
    if arguments.html is not None:
        output.write(arguments.html, _to_html(found, f"{arguments.before} → {arguments.after}"))
    print_text(_to_json(found) if arguments.as_json else _to_text(found))
    if found.worse:
        named = "; ".join(f"{change.what} {change.change}" for change in found.worse[:_MAX_NAMED])
        if len(found.worse) > _MAX_NAMED:
            named += f"; and {len(found.worse) - _MAX_NAMED} more"
        raise CheckFailedError(f"{arguments.after}: worse than {arguments.before}: {named}")
    return 0


def _to_json(found: Comparison) -> str:
    return json.dumps({"format": 1, **dataclasses.asdict(found)}, indent=2, default=structs.asdict) + "\n"


def _to_text(found: Comparison) -> str:
    table = text_table(_HEADER, [_cells(change) for change in found.changes], names=2)
    evidence = [
        textwrap.fill(printable(line), _COLUMNS, subsequent_indent="  ", break_on_hyphens=False)
        for line in _evidence(found)
    ]
    return "\n".join([f"{found.summary}\n", table, *evidence, *_notes(found)]) + "\n"


def _to_html(found: Comparison, title: str) -> str:
    table = html_table(
        [*_HEADER, "evidence"], [[*_cells(change), change.evidence] for change in found.changes], names=2
    )
    notes = "".join(f"<li>{escape(note)}</li>\n" for note in _notes(found))
    return html_document(title, f"<p>{escape(found.summary)}</p>\n{table}" + (f"<ul>\n{notes}</ul>\n" if notes else ""))


def _cells(change: Change) -> list[str]:
    return [change.what, change.verdict, change.before, change.after, change.change]


def _evidence(found: Comparison) -> list[str]:
    """The evidence for every difference; a reason that several in a row share is given once."""
    changed = [change for change in found.changes if change.verdict != "same"]
    by_evidence = groupby(sorted(changed, key=lambda change: change.evidence), key=lambda change: change.evidence)
    grouped = {evidence: [change.what for change in group] for evidence, group in by_evidence}
    order = dict.fromkeys(change.evidence for change in changed)
    return [
        f"{grouped[evidence][0]}: {evidence}"
        if len(grouped[evidence]) == 1
        else f"{len(grouped[evidence])} rows: {evidence}"
        for evidence in order
    ]


def _notes(found: Comparison) -> list[str]:
    inconclusive = any(change.verdict == "inconclusive" for change in found.changes)
    return [*found.notes, *([_MEASURE_AGAIN] if inconclusive else [])]
