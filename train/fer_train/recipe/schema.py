"""The JSON Schema of recipes, by which editors complete and check them."""

from __future__ import annotations

from typing import Any

from fer_edge.settings.base import table_schema
from fer_train.recipe.recipe import Recipe


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``Recipe``: types, ranges, defaults and descriptions.

    >>> recipe_schema()["title"]
    'Recipe of fer-edge train'
    """
    schema = table_schema(Recipe, "Recipe of fer-edge train")
    tune = {"type": "object", "description": "What `fer-edge train --tune` searches. Ignored otherwise."}
    schema["properties"]["tune"] = tune
    return schema
