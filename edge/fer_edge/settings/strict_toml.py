"""Convert TOML tables to nested frozen dataclasses, and back.

Every key has a default. An unknown key, or a value of the wrong type, raises ``ConfigError`` with the key's path and
the allowed keys or values. Supported field types: bool, int, float, str, ``Literal[...]``, ``tuple[X, ...]``,
``dict[str, X]``, nested dataclasses and ``X | None``. A dataclass may check ranges in ``__post_init__`` by raising
ValueError.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from fer_edge.errors import ConfigError
from fer_edge.settings.redaction import redacted

T = TypeVar("T")

_WHOLE_FLOAT = 2**53
"""Maximum magnitude up to which a float represents every whole number exactly."""


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: If the file cannot be read or parsed. The message contains the file's name and the line.
    """
    try:
        # utf-8-sig: some editors write a byte order mark.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also raised for numbers too long and lists too deep
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def parse(target: type[T], table: Mapping[str, Any], where: str) -> T:
    """Return an instance of the dataclass ``target`` with the values of ``table``.

    Args:
        target: The dataclass.
        table: Values by key; keys that are missing keep their defaults.
        where: Origin of the values, such as a file's name. Error messages start with it.

    Raises:
        ConfigError: If a key is unknown, or a value has the wrong type or is out of range.
    """
    return cast(T, _parse_dataclass(target, table, where, ""))


def to_table(settings: Any) -> dict[str, Any]:
    """Return the nested tables of a settings dataclass, without the keys that are None: TOML has no null."""
    return {key: value for key, value in _plain(dataclasses.asdict(settings)).items() if value is not None}


def dump(table: Mapping[str, Any], prefix: str = "") -> str:
    """Return ``table`` as TOML text.

    Args:
        table: Nested tables of bools, numbers, strings, and lists of these or of tables.
        prefix: Path of the table, with a trailing dot; empty for the top level.

    Raises:
        ConfigError: If a string contains surrogates, such as the name of a file that is not in UTF-8.
    """
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping) and not _tables(value)}
    lines = [f"{_key(key)} = {_literal(value)}\n" for key, value in plain.items()]
    for key, value in table.items():
        path = f"{prefix}{_key(key)}"
        if isinstance(value, Mapping):
            lines.append(f"\n[{path}]\n{dump(value, path + '.')}")
        elif _tables(value):
            lines += [f"\n[[{path}]]\n{dump(item, path + '.')}" for item in value]
    return "".join(lines)


def _parse_dataclass(target: Any, table: Any, where: str, path: str) -> Any:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: {path or 'top level'} must be a table, not {_shown(table)}")
    hints = typing.get_type_hints(target)
    names = [entry.name for entry in dataclasses.fields(target)]
    values = {}
    for key, value in table.items():
        key_path = f"{path}.{key}" if path else str(key)
        if key not in names:
            raise ConfigError(f"{where}: unknown key {key_path}; allowed here: {', '.join(names)}")
        values[key] = _parse_value(hints[key], value, where, key_path)
    try:
        return target(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {path + ': ' if path else ''}{error}") from None


def _parse_value(hint: Any, value: Any, where: str, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        return None if value is None else _parse_value(inner[0], value, where, path)
    if dataclasses.is_dataclass(hint):
        return _parse_dataclass(hint, value, where, path)
    if origin is typing.Literal:
        # Compare the types too: `1 == True`, but a boolean is not a number.
        if not any(value == allowed and type(value) is type(allowed) for allowed in arguments):
            allowed_text = ", ".join(repr(allowed) for allowed in arguments)
            raise ConfigError(f"{where}: {path} must be one of {allowed_text}, not {_shown(value)}")
        return value
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: {path} must be a table, not {_shown(value)}")
        return {key: _parse_value(arguments[1], item, where, f"{path}.{key}") for key, item in value.items()}
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: {path} must be a list, not {_shown(value)}")
        return tuple(_parse_value(arguments[0], item, where, f"{path}[{i}]") for i, item in enumerate(value))
    return _parse_scalar(hint, value, where, path)


def _parse_scalar(hint: Any, value: Any, where: str, path: str) -> Any:
    if hint is float and type(value) is int and abs(value) <= _WHOLE_FLOAT:
        return float(value)
    if type(value) is not hint:
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
        raise ConfigError(f"{where}: {path} must be {names.get(hint, hint)}, not {_shown(value)}")
    if hint is str and "\0" in value:  # invalid in file and host names: report it here, not when it is used
        raise ConfigError(f"{where}: {path} contains a NUL character")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    try:
        text = redacted(repr(value))
    except ValueError:  # Python does not print integers of more than a few thousand digits
        return "a number with too many digits"
    return text if len(text) <= 60 else text[:57] + "..."


def _tables(value: Any) -> bool:
    """Return whether ``value`` is a list of tables."""
    return isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _literal(key)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError(f"{value!r} cannot be written as TOML: it is not valid Unicode")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return repr(value)
