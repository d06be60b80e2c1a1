"""Write the JSON Schema and the reference page of a gate file from the definitions of its rules.

    python docs/write_gate.py

writes convert/gate.schema.json and docs/reference/gate.md; ``make gate`` calls it. A test compares the files
with what this program writes.
"""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import inspect
from reference_pages import reference_page, write

from fer_convert.gate_rules import AccuracyRules, FileRules, Gate, LatencyRules, gate_schema
from fer_edge.settings.base import Settings

ROOT = Path(__file__).parents[1]

SECTIONS: dict[str, type[Settings]] = {
    "[accuracy]": AccuracyRules,
    "[file]": FileRules,
    "[latency]": LatencyRules,
}

PAGE = """\
# Gate

`fer-edge convert MODEL --out BUNDLE --gate FILE` checks the bundle against the rules of a TOML file. If it breaks a
rule, nothing is written, an error of one line names all broken rules, and the exit code is 1. The measured value is
logged for each rule. No rule has a default: a rule that is not set is not checked.

[gate.toml](../../convert/gate.toml) is the gate of the released models. Its first line, `#:schema` with the path of
[gate.schema.json](../../convert/gate.schema.json), makes editors with TOML support (Taplo, Even Better TOML) complete
and check the file. Unknown keys, and values of the wrong type or out of range, are refused.

This page is written by `make gate` from the definitions in `convert/fer_convert/gate_rules.py`.

## Top level

"""


def rules_of(kind: type[Settings]) -> list[tuple[str, str, str]]:
    """Return key, allowed values and description of each field that is not a table."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    rules = []
    for field in info.fields:
        plain, description, allowed = field.type, "", ""
        while isinstance(plain, inspect.Metadata | inspect.UnionType):
            if isinstance(plain, inspect.UnionType):  # with None
                plain = next(member for member in plain.types if not isinstance(member, inspect.NoneType))
            else:
                description = (plain.extra_json_schema or {}).get("description", description)
                allowed = (plain.extra or {}).get("allowed", allowed)
                plain = plain.type
        if isinstance(plain, inspect.IntType):
            allowed = f"a whole number of at least {plain.ge}"
        elif isinstance(plain, inspect.VarTupleType):
            allowed = "a list of strings"
        if not isinstance(plain, inspect.StructType):
            rules.append((field.name, allowed, description))
    return rules


def table(kind: type[Settings]) -> str:
    """Return the keys of ``kind`` as a table in Markdown."""
    rows = (f"| `{name}` | {allowed} | {description} |\n" for name, allowed, description in rules_of(kind))
    return "| key | allowed | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def page() -> str:
    """Return the text of gate.md."""
    return reference_page(PAGE, Gate, SECTIONS, table)


def pages() -> dict[Path, str]:
    """Return the text of each file that this program writes."""
    schema = json.dumps(gate_schema(), indent=2, ensure_ascii=False) + "\n"
    return {ROOT / "convert" / "gate.schema.json": schema, ROOT / "docs" / "reference" / "gate.md": page()}


if __name__ == "__main__":
    write(pages())
