"""Decode JSON strictly: RFC 8259 numbers only, and no duplicate keys."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def decode_json(data: bytes | str) -> Any:
    """Return the value of a JSON text. A byte order mark is accepted.

    Refused in addition to what ``json.loads`` refuses: NaN, infinities, numbers beyond the range of a float, a key that
    occurs twice in an object, and nesting beyond Python's recursion limit.

    Raises:
        ValueError: If the text is refused; the message is one line.
    """
    try:
        return json.loads(data, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):  # json.loads would keep the last of the values without a hint
        keys = [key for key, _ in pairs]
        twice = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise ValueError(f"the key {twice!r:.60} occurs twice in one object")
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text:.60} is too large")
    return value
