"""The base of every part of a report, and the types of their fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fer_edge.errors import InputError
from fer_edge.settings.base import with_clean_descriptions
from fer_edge.settings.strict_json import decode_json


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a report.

    A field's type, range and description are defined once. The decoder and the files in ``schema/`` follow from them.
    """


def read_table(path: Path, command: str) -> Any:
    """Return the content of a JSON file that ``command`` wrote. Raises InputError if it is not one."""
    try:
        return decode_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read this report: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON, so not a report of {command}: {error}") from None


Text = Annotated[str, Meta(min_length=1)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", extra={"allowed": "64 hexadecimal digits"})]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
CountFrom1 = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]


def json_schema(kind: type[Section], title: str, units: str) -> dict[str, Any]:
    """Return the JSON Schema of a report of type ``kind``, in which every key is required."""
    (top,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for section in components.values():
        # The decoder fills in keys that older reports do not have; a report that is written has all of them.
        section["required"] = list(section["properties"])
        for field in section["properties"].values():
            field.pop("default", None)
    report = components.pop(top["$ref"].rpartition("/")[2])
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **report,
        "title": title,
        "description": f"{report['description']} {units}",
        "$defs": components,
    }
    return dict(with_clean_descriptions(schema))
