"""Write what the definitions of a recipe say about it: its JSON Schema and the reference page.

    python docs/write_recipes.py

writes train/recipe.schema.json and docs/reference/recipes.md; ``make recipes`` calls it. A test compares
the files with what this program writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect
from reference_pages import reference_page, write

from fer_edge.settings.base import Settings
from fer_edge.settings.toml_files import inline_toml
from fer_train.recipe.augmentation import AugmentSettings
from fer_train.recipe.data import DataSettings, SetSettings
from fer_train.recipe.loop import LoopSettings
from fer_train.recipe.model import ModelSettings, Vgg16Settings
from fer_train.recipe.recipe import Recipe
from fer_train.recipe.schema import recipe_schema
from fer_train.recipe.targets import TargetSettings
from fer_train.recipe.tracking import TrackingSettings
from fer_train.recipe.values import MAX_FLOAT

ROOT = Path(__file__).parents[1]

SECTIONS: dict[str, type[Settings]] = {
    "[data]": DataSettings,
    "[[data.sets]]": SetSettings,
    "[model]": ModelSettings,
    "[model.vgg16]": Vgg16Settings,
    "[augment]": AugmentSettings,
    "[targets]": TargetSettings,
    "[loop]": LoopSettings,
    "[tracking]": TrackingSettings,
}

PAGE = """\
# Recipes

`fer-edge train --recipe FILE` trains a model by a recipe, a TOML file with these tables and keys. All keys have
defaults. Unknown keys, and values of the wrong type or outside of their range, are refused; the message names the key
and what is allowed.
[train/configs](../../train/configs) has recipes to start from. The folder of a run contains its recipe with all
defaults, `config.toml`.

Editors with TOML support (Taplo, Even Better TOML) complete and check a recipe if its first line is
`#:schema PATH`, with the path of [recipe.schema.json](../../train/recipe.schema.json).

A recipe may also have a table `[tune]`, which only `fer-edge train --tune` uses:
[the guide](../how-to/tune.md) describes it.

This page is written by `make recipes` from the definitions in `train/fer_train/recipe`.

## Top level

"""


def fields_of(kind: type[Settings]) -> Iterator[tuple[str, inspect.Type, str, Any]]:
    """Yield name, type, description and default of each field that is not a table."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        plain, description = field.type, ""
        while isinstance(plain, inspect.Metadata):
            description = description or (plain.extra_json_schema or {}).get("description", "")
            plain = plain.type
        if not isinstance(plain, inspect.StructType):
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            yield field.name, plain, description, default


def allowed(kind: inspect.Type) -> str:
    """Return the allowed values in words, such as "8 to 8192"; empty if the type is not restricted."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, inspect.VarTupleType):
        values = allowed(kind.item_type)
        return f"each {values}" if values else ""
    if not isinstance(kind, inspect.IntType | inspect.FloatType):
        return ""
    if kind.ge is not None and kind.le not in (None, MAX_FLOAT):
        return f"{kind.ge} to {kind.le}"
    low = f"{kind.ge} or more" if kind.ge is not None else f"above {kind.gt}" if kind.gt is not None else ""
    high = f"at most {kind.le}" if kind.le not in (None, MAX_FLOAT) else f"below {kind.lt}" if kind.lt else ""
    return ", ".join(limit for limit in (low, high) if limit)


def table(kind: type[Settings]) -> str:
    """Return the keys of ``kind`` as a table in Markdown."""
    text = "| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n"
    for name, plain, description, default in fields_of(kind):
        shown = "not set" if default is None else f"`{inline_toml(default)}`"
        text += f"| `{name}` | {shown} | {allowed(plain)} | {description} |\n"
    return text


def page() -> str:
    """Return the text of recipes.md."""
    return reference_page(PAGE, Recipe, SECTIONS, table)


def pages() -> dict[Path, str]:
    """Return the text of each file that this program writes."""
    schema = json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"
    return {ROOT / "train" / "recipe.schema.json": schema, ROOT / "docs" / "reference" / "recipes.md": page()}


if __name__ == "__main__":
    write(pages())
