"""JSON Schemas that follow from structs. ``PYTHONPATH=edge:tests python -m support.results.schemas`` writes them."""

from __future__ import annotations

import json

import msgspec

from fer_edge.model.manifest import ModelManifest
from fer_edge.settings.base import with_clean_descriptions
from support.environments.fresh_install import CHECKOUT

FOLDER = CHECKOUT / "edge/fer_edge/schema"
GENERATED = {"manifest.schema.json": ("FER-Edge model manifest", ModelManifest)}


def schema_text(name: str) -> str:
    """The text of the schema file ``name``."""
    title, kind = GENERATED[name]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    # Cleaned, because Python 3.13 removes the indentation of docstrings and older versions do not.
    schema = {**head, **with_clean_descriptions(msgspec.json.schema(kind))}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file in GENERATED:
        (FOLDER / file).write_text(schema_text(file), encoding="utf-8")
