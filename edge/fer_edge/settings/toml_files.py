"""Read and write TOML files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_edge.errors import ConfigError
from fer_edge.system.files import read_regular

_MAX_BYTES = 2**20
"""Maximum size of a TOML file. The longest one of this project has a few kilobytes."""


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: If it is not a regular file of at most 1 MiB, or cannot be read or parsed. The
            message contains the file's name and the line.
    """
    try:
        # utf-8-sig: some editors write a byte order mark.
        text = read_regular(path, _MAX_BYTES).decode("utf-8-sig")
        return tomllib.loads(text.replace("\r\n", "\n").replace("\r", "\n"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also raised for numbers too long and lists too deep
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def dump_toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """Return ``table`` as TOML text.

    Args:
        table: Nested tables of bools, numbers, strings, and lists of these or of tables.
        prefix: Path of the table, with a trailing dot; empty for the top level.

    Raises:
        ConfigError: If a string contains surrogates, such as the name of a file that is not in UTF-8.
    """
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping) and not _tables(value)}
    lines = [f"{_key(key)} = {inline_toml(value)}\n" for key, value in plain.items()]
    for key, value in table.items():
        path = f"{prefix}{_key(key)}"
        if isinstance(value, Mapping):
            lines.append(f"\n[{path}]\n{dump_toml(value, path + '.')}")
        elif _tables(value):
            lines += [f"\n[[{path}]]\n{dump_toml(item, path + '.')}" for item in value]
    return "".join(lines)


def _tables(value: Any) -> bool:
    """Return whether ``value`` is a list of tables."""
    return isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else inline_toml(key)


def inline_toml(value: Any) -> str:
    """Return ``value`` as it stands behind a key. Raises ConfigError as ``dump_toml``.

    >>> inline_toml({"desk": [0.0, 0.5]})
    '{desk = [0.0, 0.5]}'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError(f"{value!r} cannot be written as TOML: it is not valid Unicode")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {inline_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline_toml(item) for item in value) + "]"
    return repr(value)
