"""Write what the settings' definitions say about them: the example, its JSON Schema and the reference page.

    python docs/write_settings.py

writes edge/config.example.toml, edge/config.schema.json and docs/reference/settings.md; ``make settings`` calls it.
A test compares the files with what this program writes.
"""

from __future__ import annotations

import json
import textwrap
import typing
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect
from reference_pages import write

from fer_edge.settings.base import Settings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.schema import settings_schema
from fer_edge.settings.toml_files import inline_toml

ROOT = Path(__file__).parents[1]
WIDTH = 120

CHOSEN = {
    "source.uris": ["demo"],
    "source.realtime": True,
    "recovery.reconnect": True,
    "mqtt.host": "localhost",
    "web.enabled": True,
}
"""Values of the example that are not the defaults, so that it does something visible without a change."""

HEAD = """\
#:schema config.schema.json
# All settings of `fer-edge run --settings FILE`. With this file, fer-edge plays the demo scene in real time, serves the
# status page at http://127.0.0.1:8080/ and publishes to an MQTT broker on this machine (extras web and mqtt).
# Copy the file and keep the settings that you change. All values are defaults, except for the five marked "Set here".
# Settings without a default are commented out, with an example value.
# Command-line flags take precedence over the environment (FER_EDGE_<TABLE>_<KEY>, such as FER_EDGE_EMOTION_ENTER=0.6),
# and the environment over this file. `fer-edge run --print-config` prints the resulting settings.
# The first line is for editors that complete and check TOML by a JSON Schema (Taplo, Even Better TOML):
# `fer-edge run --print-schema > config.schema.json` writes it next to your copy.
"""

PAGE = """\
# Settings

`fer-edge run --settings FILE` reads these settings from a TOML file. Flags take precedence over the environment
(`FER_EDGE_<TABLE>_<KEY>`, such as `FER_EDGE_EMOTION_ENTER=0.6`), and the environment over the file. Unknown keys are
refused. [config.example.toml](../../edge/config.example.toml) has all of them, with their defaults;
`fer-edge run demo --print-config` prints the resulting settings, and `fer-edge run --print-schema` their JSON Schema.
`predict` and `demo` read settings from the environment only, and ignore `output` and `source.uris`.

This page is written by `make settings` from the definitions in `edge/fer_edge/settings`.
"""

CAMERAS_EXAMPLE = """
# Named sources, each with the settings that differ from [source]: any key except uris and realtime.
# [cameras.door]
# uri = "rtsp://nvr.lan/cam1"
# rotate = 90
"""

CAMERAS_PAGE = """
## [cameras.NAME]

A named source, with its `uri` and the settings that differ from `[source]`: any key of it except `uris` and `realtime`.
Events, page, metrics and MQTT use the name, which stays the same if the order of the sources changes. A source can also
be named by `NAME=URI` in `source.uris` and on the command line; a table of that name then needs no `uri`.

```toml
[source]
fps = 10.0

[cameras.door]
uri = "rtsp://nvr.lan/cam1"
rotate = 90

[cameras.garden]
uri = "rtsp://nvr.lan/cam2"
mask = [[0, 0, 0.5, 1]]
low_light = "clahe"
```
"""


def fields_of(kind: type[Settings]) -> Iterator[tuple[str, inspect.Type, dict[str, Any], Any]]:
    """Yield name, type, what ``Meta`` says and default of each field."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        plain = field.type
        extra: dict[str, Any] = {}
        while isinstance(plain, inspect.Metadata):
            extra = {**(plain.extra_json_schema or {}), **extra}
            plain = plain.type
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        yield field.name, plain, extra, default


def sections() -> Iterator[tuple[str, type[Settings]]]:
    """Yield name and struct of each table."""
    hints = typing.get_type_hints(RuntimeSettings)
    yield from ((name, hints[name]) for name in RuntimeSettings.__struct_fields__ if name != "cameras")


def allowed(kind: inspect.Type) -> str:
    """Return the allowed values in words, such as "8 to 8192"; empty if the type is not restricted."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        return next(allowed(each) for each in kind.types if not isinstance(each, inspect.NoneType))
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        if kind.gt is not None:
            return f"above {kind.gt} and up to {kind.le}"
        return f"{kind.ge} to {kind.le}" if kind.ge is not None else ""
    return ""


def comment(text: str) -> str:
    """Return ``text`` as lines of a TOML comment."""
    return "".join(f"{line}\n" for line in textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# "))


def example() -> str:
    """Return the text of config.example.toml."""
    text = HEAD
    for section, kind in sections():
        text += f"\n[{section}]\n"
        for name, type_info, extra, default in fields_of(kind):
            chosen = CHOSEN.get(f"{section}.{name}")
            values, limits = allowed(type_info).replace("`", ""), []
            if values:
                limits.append(f"{'Values' if isinstance(type_info, inspect.LiteralType) else 'Range'}: {values}.")
            if chosen is not None:
                before = "not set" if default is None else inline_toml(default)
                limits.append(f"Default: {before}. Set here: {inline_toml(chosen)}.")
            text += comment(extra["description"]) + comment(" ".join(limits))
            value = default if chosen is None else chosen
            if value in (None, {}):
                text += f"# {name} = {inline_toml(extra['examples'][0])}\n"
            else:
                text += f"{name} = {inline_toml(value)}\n"
        if section == "source":
            text += CAMERAS_EXAMPLE
    return text


def page() -> str:
    """Return the text of settings.md."""
    text = PAGE
    for section, kind in sections():
        about = cleandoc(kind.__doc__ or "").partition("\n\n>>>")[0]
        about = about.removeprefix(f"``[{section}]``: ").replace("``", "`")
        text += f"\n## [{section}]\n\n{about[0].upper()}{about[1:]}\n\n"
        text += "| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n"
        for name, type_info, extra, default in fields_of(kind):
            shown = "not set" if default is None else f"`{inline_toml(default)}`"
            text += f"| `{name}` | {shown} | {allowed(type_info)} | {extra['description']} |\n"
        if section == "source":
            text += CAMERAS_PAGE
    return text


def pages() -> dict[Path, str]:
    """Return the text of each file that this program writes."""
    schema = json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n"
    return {
        ROOT / "edge" / "config.example.toml": example(),
        ROOT / "edge" / "config.schema.json": schema,
        ROOT / "docs" / "reference" / "settings.md": page(),
    }


if __name__ == "__main__":
    write(pages())
