"""Write reports as one self-contained HTML page, and as Markdown with PNG files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from fer_bench.extras import require
from fer_bench.report import charts, render, sequence_charts
from fer_bench.report.verdict import verdict
from fer_bench.results import REFERENCE, BenchmarkReport
from fer_bench.results.sequence import SequenceSection
from fer_bench.tables import Table, html_table, markdown_table
from fer_edge.system.files import atomic_path, write_text_atomically

PAGE, MARKDOWN = "report.html", "report.md"
_DPI = 110
_MAX_ROWS_SHOWN = 40
"""Longer tables are collapsed on the page."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One plot: the ``name`` of its file, and its ``caption``."""

    name: str
    caption: str
    draw: Callable[[BenchmarkReport], Any]


def _of_sequence(draw: Callable[[SequenceSection], Any]) -> Callable[[BenchmarkReport], Any]:
    return lambda found: None if found.sequence is None else draw(found.sequence)


CHARTS = (
    Chart("accuracy-latency", "Up and to the left is better.", charts.accuracy_against_latency),
    Chart("recall", "A bar below zero is a class that the variant finds less often.", charts.recall_changes),
    Chart("confusion", "Right: red is more images than float32, blue fewer.", charts.confusions),
    Chart("reliability", "Bars on the diagonal: the confidence equals the accuracy.", charts.reliability),
    Chart("latency", "Compare only times of one machine.", charts.latency_distributions),
    Chart("frame-time", "The lower plot enlarges the second bar.", _of_sequence(sequence_charts.frame_time)),
    Chart(
        "costs", "Flat is better: the time does not grow with faces or resolution.", _of_sequence(sequence_charts.costs)
    ),
)

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-size: .9rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8884; text-align: left; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; background: white; border-radius: 4px; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
figcaption { color: #444; padding: .3rem .8rem .6rem; font-size: .9rem; }
ul { font-size: .9rem; }
.verdict { font-size: 1.05rem; margin: .4rem 0; }
summary { font-size: 1.17em; font-weight: bold; margin: 1rem 0; cursor: pointer; }
"""


def write_page(reports: Sequence[BenchmarkReport], folder: Path) -> None:
    """Write report.html, report.md and its PNG files to ``folder``. Raises OutputError, MissingExtraError."""
    write_text_atomically(folder / PAGE, to_html(reports))
    write_text_atomically(folder / MARKDOWN, write_charts(reports, folder))


def to_html(reports: Sequence[BenchmarkReport]) -> str:
    """Return a page that needs no other file; the plots are inline SVG."""
    body = "".join(_html_section(found) for found in reports)
    machines = html_table(*_machine_table(reports)) if len(reports) > 1 else ""
    heading = f"FER-Edge benchmark: {', '.join(dict.fromkeys(map(render.title, reports)))}"
    return html_document(heading, machines + body)


def html_document(title: str, body: str) -> str:
    """Return a page without external resources; ``body`` is HTML, ``title`` is text."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n"
    )


def _html_section(found: BenchmarkReport) -> str:
    parts = [f"<h2>{escape(_heading(found))}</h2>\n"]
    parts += [f'<p class="verdict">{escape(line)}</p>\n' for line in verdict(found)]
    parts += [_html_table(table) for table in render.tables(found)]
    parts += [
        f"<figure>{_svg(figure)}<figcaption>{escape(chart.caption)}</figcaption></figure>\n"
        for chart, figure in _drawn(found)
    ]
    lines = "".join(f"<li>{escape(line)}</li>\n" for line in render.notes(found))
    return "".join(parts) + f"<h3>How it was measured</h3>\n<ul>\n{lines}</ul>\n"


def _html_table(table: Table) -> str:
    drawn, title = html_table(table.header, table.rows, table.names), escape(table.title)
    if len(table.rows) > _MAX_ROWS_SHOWN:
        return f"<details>\n<summary>{title} ({len(table.rows)} rows)</summary>\n{drawn}</details>\n"
    return f"<h3>{title}</h3>\n{drawn}"


def write_charts(reports: Sequence[BenchmarkReport], folder: Path) -> str:
    """Write the plots to ``folder`` and return the reports as Markdown. Raises OutputError, MissingExtraError."""
    parts = ["# FER-Edge benchmark\n"]
    parts += [markdown_table(*_machine_table(reports))] if len(reports) > 1 else []
    for number, found in enumerate(reports, 1):
        parts.append(render.to_markdown(found))
        prefix = f"{number}-" if len(reports) > 1 else ""
        for chart, figure in _drawn(found):
            name = f"{prefix}{chart.name}.png"
            with atomic_path(folder / name) as temporary:
                figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})
            parts.append(f"![{chart.caption}]({name})\n")
    return "\n".join(parts)


def _drawn(found: BenchmarkReport) -> Iterator[tuple[Chart, Any]]:
    for chart in CHARTS:
        # A name with dollar signs is not a formula.
        with require("matplotlib").rc_context({"text.parse_math": False}):
            figure = chart.draw(found)
        if figure is not None:
            yield chart, figure


def _svg(figure: Any) -> str:
    """Return the figure as an SVG element; the same figure gives the same text."""
    text = io.StringIO()
    with require("matplotlib").rc_context({"svg.hashsalt": "fer-edge"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


def _heading(found: BenchmarkReport) -> str:
    return f"{render.title(found)} on {found.host.cpu} ({found.host.machine})"


def _machine_table(reports: Sequence[BenchmarkReport]) -> tuple[list[str], list[list[str]], int]:
    """Return a row for each report: the machine, and the cost of int8 on it."""
    header = [
        "machine",
        "architecture",
        "int8 instructions",
        "bundle",
        "float32 ms",
        "int8 ms",
        "int8 / float32",
        "RSS MiB",
    ]
    rows = []
    for found in reports:
        float32, int8 = (charts.main_row(found, variant) for variant in (REFERENCE, "int8"))
        rows.append(
            [
                found.host.cpu,
                found.host.machine,
                " ".join(found.host.int8_instructions) or "-",
                render.title(found),
                "-" if float32 is None else f"{float32.p50_ms:.2f}",
                "-" if int8 is None else f"{int8.p50_ms:.2f}",
                "-" if int8 is None or int8.ratio is None else f"{int8.ratio:.2f}",
                "-" if int8 is None else f"{int8.rss_loaded_mib:.0f}",
            ]
        )
    return header, rows, 4
