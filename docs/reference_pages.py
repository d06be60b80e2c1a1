"""What the programs share that write a reference page from the definitions of settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import cleandoc
from pathlib import Path

from fer_edge.settings.base import Settings


def reference_page(
    head: str, top: type[Settings], sections: Mapping[str, type[Settings]], table: Callable[[type[Settings]], str]
) -> str:
    """Return a page: ``head``, the keys of ``top``, then those of each section under its name and docstring.

    Args:
        head: Title and introduction, up to the heading of the keys of ``top``.
        top: The struct of the whole file.
        sections: The struct of each table of the file, by its name with brackets.
        table: Returns the keys of a struct as a table in Markdown.
    """
    text = head + table(top)
    for section, kind in sections.items():
        about = " ".join(cleandoc(kind.__doc__ or "").removeprefix(f"``{section}``: ").replace("``", "`").split())
        text += f"\n## {section}\n\n{about[0].upper()}{about[1:]}\n\n{table(kind)}"
    return text


def write(pages: Mapping[Path, str]) -> None:
    """Write each text to its file."""
    for path, content in pages.items():
        path.write_text(content, encoding="utf-8")
