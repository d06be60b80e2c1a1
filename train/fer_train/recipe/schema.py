"""The JSON Schema of recipes, by which editors complete and check them."""

from __future__ import annotations

from typing import Any

import msgspec

from fer_edge.settings.base import with_clean_descriptions
from fer_train.recipe.recipe import Recipe


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``Recipe``: types, ranges, defaults and descriptions.

    >>> recipe_schema()["title"]
    'Recipe of fer-edge train'
    """
    (top,), components = msgspec.json.schema_components([Recipe], ref_template="#/$defs/{name}")
    recipe = components.pop(top["$ref"].rpartition("/")[2])
    properties = {
        # The defaults of a table are with its keys.
        name: {"$ref": section["$ref"]} if "$ref" in section else section
        for name, section in recipe["properties"].items()
    }
    properties["tune"] = {"type": "object", "description": "What `fer-edge train --tune` searches. Ignored otherwise."}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **recipe,
        "properties": properties,
        "title": "Recipe of fer-edge train",
        "description": "Each table of the TOML file is a property.",
        "$defs": components,
    }
    return dict(with_clean_descriptions(schema))
