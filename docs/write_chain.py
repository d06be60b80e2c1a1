"""Write the JSON Schema and the reference page of a chain's file from the definitions of its settings.

    python docs/write_chain.py

writes chain/chain.schema.json and docs/reference/chain.md; ``make chains`` calls it. A test compares the files
with what this program writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect
from reference_pages import reference_page, write

from fer_chain import settings
from fer_chain.settings import Chain, chain_schema
from fer_edge.settings.base import Settings
from fer_edge.settings.toml_files import inline_toml

ROOT = Path(__file__).parents[1]

SECTIONS: dict[str, type[Settings]] = {
    "[data]": settings.DataStep,
    "[train]": settings.TrainStep,
    "[average]": settings.AverageStep,
    "[convert]": settings.ConvertStep,
    "[gate]": settings.GateStep,
    "[bench]": settings.BenchStep,
    "[release]": settings.ReleaseStep,
    "[card]": settings.CardStep,
    "[deploy]": settings.DeployStep,
}

PAGE = """\
# Chains

`fer-edge chain run FILE` runs all steps from the data to the device that FILE, a TOML file with these tables and keys,
describes; [the guide](../how-to/chain.md) shows one. Unknown keys, and values of the wrong type or out of range, are
refused, and so are arguments that a step's command does not have. Paths are relative to the current folder.

Editors with TOML support (Taplo, Even Better TOML) complete and check a file if its first line is `#:schema PATH`, with
the path of [chain.schema.json](../../chain/chain.schema.json).

This page is written by `make chains` from the definitions in `chain/fer_chain/settings.py`.

## Top level

"""


def keys_of(kind: type[Settings]) -> list[tuple[str, str, str]]:
    """Return name, default and description of each key that is not a table."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    found = []
    for field in info.fields:
        plain, description = field.type, ""
        while isinstance(plain, inspect.Metadata):
            description = description or (plain.extra_json_schema or {}).get("description", "")
            plain = plain.type
        if description:  # tables have none
            found.append((field.name, _default(field), description))
    return found


def _default(field: Any) -> str:
    if field.required:
        return "required"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "not set" if default is None else f"`{inline_toml(default)}`"


def table(kind: type[Settings]) -> str:
    """Return the keys of ``kind`` as a table in Markdown."""
    rows = (f"| `{name}` | {default} | {description} |\n" for name, default, description in keys_of(kind))
    return "| key | default | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def page() -> str:
    """Return the text of chain.md."""
    return reference_page(PAGE, Chain, SECTIONS, table)


def pages() -> dict[Path, str]:
    """Return the text of each file that this program writes."""
    schema = json.dumps(chain_schema(), indent=2, ensure_ascii=False) + "\n"
    return {ROOT / "chain" / "chain.schema.json": schema, ROOT / "docs" / "reference" / "chain.md": page()}


if __name__ == "__main__":
    write(pages())
