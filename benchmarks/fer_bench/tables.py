"""Tables as aligned text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fer_edge.system.messages import printable

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Its first ``names`` columns identify a row; ``title`` is its heading on a page."""

    header: Sequence[str]
    rows: Rows
    names: int = 1
    title: str = ""


def text_table(header: Sequence[str], rows: Rows, names: int = 1) -> str:
    """Return aligned columns with a rule under the header; the first ``names`` are left-aligned, others right-aligned.

    Control characters in cells, such as file names, are escaped.
    """
    header, *rows = ([printable(cell) for cell in row] for row in (header, *rows))
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [_aligned(header, widths, names), "  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *(_aligned(row, widths, names) for row in rows)]) + "\n"


def markdown_table(header: Sequence[str], rows: Rows, names: int = 1) -> str:
    """Return a Markdown table, aligned like ``text_table``."""
    rule = ["---" if i < names else "---:" for i in range(len(header))]
    lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in (header, rule, *rows))
    return "".join(f"| {line} |\n" for line in lines)


def percent(share: float, digits: int = 1) -> str:
    """Return a share 0..1 in percent, without the sign."""
    return f"{100 * share:.{digits}f}"


def p_value(p: float) -> str:
    """Return the p of a test with three digits."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _aligned(cells: Sequence[str], widths: Sequence[int], names: int) -> str:
    padded = (
        cell.ljust(width) if i < names else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def html_table(header: Sequence[str], rows: Rows, names: int = 1) -> str:
    """Return an HTML table with escaped cells; the columns after the first ``names`` have the class ``number``."""

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = ["" if i < names else ' class="number"' for i in range(len(cells))]
        inner = "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{inner}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f"<table>\n<thead>{line('th', header)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
