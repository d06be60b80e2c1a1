"""Grafana's dashboards, compared with the types that Grafana publishes of them (grafana-foundation-sdk)."""

from __future__ import annotations

import enum
import json
import types
import typing
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()


def problems(content: dict[str, Any]) -> list[str]:
    """Return each key of ``content`` that Grafana does not know, and each value of another type than it expects."""
    dashboard = Dashboard.from_json(content)
    return [*_lost(content, json.loads(json.dumps(dashboard, cls=JSONEncoder)), ""), *_mistyped(dashboard, "")]


def _lost(given: Any, known: Any, path: str) -> list[str]:
    """Compare what was read with what is written of it: an unknown key is not."""
    if isinstance(given, dict) and isinstance(known, dict):
        found = [f"{path}/{key}: unknown key" for key in given.keys() - known.keys()]
        return found + [line for key in given.keys() & known for line in _lost(given[key], known[key], f"{path}/{key}")]
    if isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        return [line for n, pair in enumerate(zip(given, known, strict=True)) for line in _lost(*pair, f"{path}/{n}")]
    return [] if given == known else [f"{path}: {given!r} is read as {known!r}"]


def _mistyped(value: object, path: str) -> list[str]:
    if isinstance(value, list):
        return [line for n, one in enumerate(value) for line in _mistyped(one, f"{path}/{n}")]
    if not type(value).__module__.startswith("grafana_foundation_sdk.models") or isinstance(value, enum.Enum):
        return []
    found = []
    for name, hint in typing.get_type_hints(type(value)).items():
        inner = getattr(value, name)
        if not _fits(inner, hint):
            found.append(f"{path}/{name}: {inner!r} is not {hint}")
        found += _mistyped(inner, f"{path}/{name}")
    return found


def _fits(value: object, hint: Any) -> bool:
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is object or hint is Any:
        fits = True
    elif kind in (typing.Union, types.UnionType):
        fits = any(_fits(value, part) for part in parts)
    elif kind is typing.Literal:
        fits = value in parts
    elif kind is list:
        fits = isinstance(value, list) and all(_fits(one, parts[0]) for one in value)
    elif kind is dict:
        fits = isinstance(value, dict) and all(_fits(one, parts[1]) for one in value.values())
    elif issubclass(hint, enum.Enum):  # what was read stays a plain value
        fits = value in [member.value for member in hint]
    elif hint in (int, float):
        fits = isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, hint)
    return fits
