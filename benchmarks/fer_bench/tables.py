"""Tables as aligned text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def text_table(header: Sequence[str], rows: Rows) -> str:
    """Aligned columns with a rule under the header; the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [_aligned(header, widths), "  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *(_aligned(row, widths) for row in rows)]) + "\n"


def markdown_table(header: Sequence[str], rows: Rows) -> str:
    """A Markdown table, aligned like ``text_table``."""
    rule = ["---", *("---:" for _ in header[1:])]
    lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in (header, rule, *rows))
    return "".join(f"| {line} |\n" for line in lines)


def percent(share: float, digits: int = 1) -> str:
    """A share 0..1 as percent, without the sign."""
    return f"{100 * share:.{digits}f}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    others = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([first, *others]).rstrip()
