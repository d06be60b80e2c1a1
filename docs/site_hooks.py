"""Hooks of MkDocs: generate pages from the program, and convert links to files that are not part of the site."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_edge.commands.cli import build_parser
from fer_edge.sinks.event_json import EventJson

DOCS = Path(__file__).parent
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the page of commands."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links to files of the repository by their paths, and fill in the table of an event's fields."""
    folder = DOCS / Path(page.file.src_uri).parent

    def shown(link: re.Match[str]) -> str:
        text, (target, _, _) = link[1], link[2].partition("#")
        path = Path(os.path.normpath(folder / target))
        if "://" in target or not target or (path.is_relative_to(DOCS) and not path.is_dir()):
            return link[0]
        if not path.exists():
            raise ValueError(f"{page.file.src_uri}: {target}: no such file")
        name = f"`{path.relative_to(DOCS.parent)}`"
        return name if text.strip("`") in (name.strip("`"), path.name) else f"{text} ({name})"

    return _LINK.sub(shown, markdown).replace("<!-- fields of an event -->", event_fields())


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Load the script for searching without a server from the site itself, not from another host."""
    return output.replace("https://unpkg.com/iframe-worker/shim", f"{_up(page.file.dest_uri)}assets/iframe-worker.js")


def on_post_template(output: str, template_name: str, **_: Any) -> str:
    """Do the same for the page of errors."""
    return output.replace("https://unpkg.com/iframe-worker/shim", "assets/iframe-worker.js")


def _up(uri: str) -> str:
    return "../" * uri.count("/")


def commands_page() -> str:
    """Return the page of all commands with their help."""
    parts = ["# Commands\n\nEvery command, as `--help` prints it.\n"]
    os.environ["COLUMNS"] = "80"
    for words, parser in _parsers(build_parser(), ("fer-edge",)):
        parts.append(f"{'#' * min(3, 1 + len(words))} {' '.join(words)}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


def _parsers(
    parser: argparse.ArgumentParser, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    if (prepare := getattr(parser, "before_parsing", None)) is not None:
        prepare()
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from _parsers(child, (*words, name))


def event_fields() -> str:
    """Return a table of the fields of an event, from the struct that defines them."""
    from msgspec import inspect

    fields = inspect.type_info(EventJson).fields  # type: ignore[attr-defined]
    rows = [f"| `{field.encode_name}` | {' '.join(_description(field.type).split())} |" for field in fields]
    return "\n".join(["| field | meaning |", "| --- | --- |", *rows])


def _description(kind: Any) -> str:
    described = (getattr(kind, "extra_json_schema", None) or {}).get("description")
    if described:
        return str(described)
    for part in getattr(kind, "types", ()):
        if text := _description(part):
            return text
    return _description(kind.type) if hasattr(kind, "type") else ""
