"""Write the subset of YAML that cloud-init's files need: nested mappings, lists, strings, integers and booleans."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fer_edge.system.messages import printable

Yaml = str | bool | int | Sequence["Yaml"] | Mapping[str, "Yaml"]

_PLAIN = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""Words that YAML 1.1 does not read as text."""


def yaml_text(value: Mapping[str, Yaml]) -> str:
    """Return ``value`` in block style, with quoted strings, so that numbers, dates and ``no`` stay strings.

    The quoting is that of YAML 1.2, section 7.3.1; YAML 1.1 has the same escape sequences, which are also Python's.
    """
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: Yaml) -> list[str]:
    if isinstance(value, str | bool | int):
        return [_scalar(value)]
    if not value:
        return ["{}" if isinstance(value, Mapping) else "[]"]
    found: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = _lines(item)
            flat = isinstance(item, str | bool | int) or not item
            found += [f"{_key(key)}: {inner[0]}"] if flat else [f"{_key(key)}:", *(f"  {line}" for line in inner)]
        return found
    for item in value:
        inner = _lines(item)
        found += [f"- {inner[0]}", *(f"  {line}" for line in inner[1:])]
    return found


def _key(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name not in _WORDS else _scalar(name)


def _scalar(value: str | bool | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return '"' + printable(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'
