"""The JSON Schema of the settings, by which editors complete and check a config."""

from __future__ import annotations

from typing import Any

import msgspec

from fer_edge.settings.base import with_clean_descriptions
from fer_edge.settings.runtime import RuntimeSettings


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``RuntimeSettings``: types, ranges, defaults and descriptions.

    >>> settings_schema()["title"]
    'Settings of fer-edge run'
    """
    (top,), components = msgspec.json.schema_components([RuntimeSettings], ref_template="#/$defs/{name}")
    table = components.pop(top["$ref"].rpartition("/")[2])
    for name, section in table["properties"].items():
        if "$ref" in section:
            table["properties"][name] = {"$ref": section["$ref"]}  # the defaults are with the keys
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **table,
        "title": "Settings of fer-edge run",
        "description": "Each table of the TOML file is a property.",
        "$defs": components,
    }
    return dict(with_clean_descriptions(schema))
