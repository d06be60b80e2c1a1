"""The base of all settings: frozen msgspec structs that check their values however they are made.

A field's type, range, description and default are defined once: ``Annotated[int, Meta(ge=1, le=64, description=…)]``.
From it follow the checks of files, environment and Python code, the JSON Schema, the example and the reference page.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from fer_edge.errors import ConfigError
from fer_edge.settings.explain import explain

T = TypeVar("T", bound=msgspec.Struct)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base class of settings.

    msgspec checks types and ranges when it decodes, but not when Python code calls the class. This class checks them
    then too. A list for a tuple and an int for a float are converted.

    Raises:
        ConfigError: If a value has the wrong type or is out of range, or if ``_check`` refuses the combination.
    """

    def __post_init__(self) -> None:
        values = msgspec.structs.asdict(self)
        kind = _without_post_init(type(self))
        try:
            checked = msgspec.convert(values, kind)
        except ValueError as error:  # a ValidationError, or a UnicodeEncodeError for half of a surrogate pair
            raise ConfigError(explain(error, values, kind)) from None
        for name, value in values.items():
            good = getattr(checked, name)
            if good is not value:
                msgspec.structs.force_setattr(self, name, good)
            if any("\0" in text for text in (good if isinstance(good, tuple) else (good,)) if isinstance(text, str)):
                # Invalid in file and host names: report it here, not when it is used.
                raise ConfigError(f"{name} contains a NUL character")
        try:
            self._check()
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def _check(self) -> None:
        """Check what more than one field, or more than a range, decides. Raises ValueError; the text names the key."""


def require(condition: bool, problem: str) -> None:
    """Raise ValueError with ``problem`` unless ``condition``."""
    if not condition:
        raise ValueError(problem)


def decode(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Return an instance of the struct ``kind`` with the values of ``table``.

    Args:
        kind: The struct.
        table: Values by key, such as those of a TOML file; missing keys keep their defaults.
        where: Origin of the values, such as a file's name. Error messages start with it.

    Raises:
        ConfigError: If a key is unknown, or a value has the wrong type or is out of range. The message names the key's
            path, what is allowed and what was given.
    """
    try:
        return msgspec.convert(table, kind)
    except ValueError as error:
        raise ConfigError(f"{where}: {explain(error, table, kind)}") from None


def to_table(settings: msgspec.Struct) -> dict[str, Any]:
    """Return the nested tables of ``settings``, without empty tables and keys that are None: TOML has no null."""
    tables = msgspec.to_builtins(settings)
    return {key: _without_none(value) for key, value in tables.items() if value not in (None, {})}


def table_schema(
    kind: type[msgspec.Struct], title: str, description: str | None = "Each table of the TOML file is a property."
) -> dict[str, Any]:
    """Return the JSON Schema of a TOML file with the tables of ``kind``: types, ranges, defaults and descriptions."""
    (top,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema = components.pop(top["$ref"].rpartition("/")[2])
    for name, table in schema["properties"].items():
        if "$ref" in table:
            schema["properties"][name] = {"$ref": table["$ref"]}  # the defaults are with the keys
    schema |= {"title": title, "description": description, "$defs": components}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **with_clean_descriptions(schema)}


def with_clean_descriptions(schema: Any) -> Any:
    """Return a JSON Schema by msgspec without the indentation and the doctests of docstrings.

    Python 3.13 removes the indentation itself, and a schema should not depend on the version.
    """
    if isinstance(schema, list):
        return [with_clean_descriptions(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {name: with_clean_descriptions(value) for name, value in schema.items()}
    if isinstance(cleaned.get("description"), str):  # a property may have this name
        cleaned["description"] = inspect.cleandoc(cleaned["description"]).partition("\n\n>>>")[0]
    return cleaned


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value


@functools.cache
def _without_post_init(kind: type[Settings]) -> type[msgspec.Struct]:
    """Return a struct with the fields of ``kind``: msgspec checks a value only when it converts it to a new struct."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return msgspec.defstruct(kind.__name__, [(name, hints[name]) for name in kind.__struct_fields__])
