"""Word msgspec's validation errors for the author of a file: the key's path, what is allowed, what was given."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import inspect

from fer_edge.settings.redaction import redacted

_MAX_SHOWN = 60
_FieldName = Annotated[str, msgspec.Meta(pattern="^[^\ud800-\udfff]*$", extra={"allowed": "a string of valid Unicode"})]
"""A key that msgspec can look up: not half of a surrogate pair, which JSON and environment variables can contain."""
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PATH = re.compile(r" - at (?:`key` in )?`\$[^`]*`$")
"""The path that ends msgspec's messages. It omits the keys of dictionaries, so it is not used to find the value."""


def explain(error: ValueError, value: Any, kind: Any) -> str:
    """Return one line with the key's path, the allowed values and the given value.

    The value at fault is found by converting the parts of ``value`` separately, because the path in msgspec's message
    omits the keys of dictionaries. A text raised in a ``__post_init__`` is kept; it may start with the field at fault.
    ``Meta(extra={"allowed": "64 hexadecimal digits"})`` replaces the description of the allowed values.

    Args:
        error: What ``msgspec.convert(value, kind)`` raised: a ValidationError, or a UnicodeEncodeError.
        value: The value that was converted.
        kind: The type to which it was converted, usually a struct.

    >>> class Size(msgspec.Struct):
    ...     height: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    >>> try:
    ...     msgspec.convert({"height": 0}, Size)
    ... except ValueError as error:
    ...     print(explain(error, {"height": 0}, Size))
    height must be a whole number between 1 and 4096, not 0
    """
    path = ""
    while True:
        bare = _bare(kind, value)
        if (problem := _refused_key(path, value, bare)) is not None:
            return problem
        for step, part, part_kind in _parts(value, bare):
            if (inner := _error_of(part, part_kind)) is not None:
                path, value, kind, error = _joined(path, step), part, part_kind, inner
                break
        else:
            return _missing_key(path, value, bare) or _problem_of_value(error, path, value, kind)


def _refused_key(path: str, value: Any, kind: Any) -> str | None:
    """Return the problem of the first key that the table's type refuses."""
    is_dict = get_origin(kind) is dict
    if not isinstance(value, Mapping) or not (is_dict or _is_struct(kind)):
        return None
    key_kind = get_args(kind)[0] if is_dict else _FieldName
    for key in value:
        if _error_of(key, key_kind) is not None:
            where = f"{path}: a key" if path else "a key"
            return f"{where} must be {_allowed(inspect.type_info(key_kind)) or 'of another type'}, not {shown(key)}"
        if not is_dict and kind.__struct_config__.forbid_unknown_fields:
            known = kind.__struct_encode_fields__
            if key not in known and key != kind.__struct_config__.tag_field:
                return f"unknown key {_joined(path, key)}; {_suggestion(key, known)}"
    return None


def _suggestion(key: str, known: tuple[str, ...]) -> str:
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}?" if near else f"allowed here: {', '.join(known) or 'nothing'}"


def _missing_key(path: str, value: Any, kind: Any) -> str | None:
    if not (isinstance(value, Mapping) and _is_struct(kind)):
        return None
    missing = (field.encode_name for field in msgspec.structs.fields(kind) if field.required)
    return next((f"{_joined(path, name)} is missing" for name in missing if name not in value), None)


def _problem_of_value(error: ValueError, path: str, value: Any, kind: Any) -> str:
    if error.__cause__ is not None:  # raised in a __post_init__
        text = " ".join(str(error.__cause__).split())
        first = re.match(r"\w*", text)
        struct = _bare(kind, value)
        names_field = _is_struct(struct) and first is not None and first.group() in struct.__struct_encode_fields__
        return f"{path}{'.' if names_field else ': '}{text}" if path else text
    allowed = _allowed(inspect.type_info(kind))
    if allowed is None:
        return f"{path or 'top level'}: {_PATH.sub('', str(error))}"
    return f"{path or 'top level'} must be {allowed}, not {shown(value)}"


def _parts(value: Any, kind: Any) -> Iterator[tuple[str | int, Any, Any]]:
    """Yield the values in ``value``, each with its key or index and its type."""
    arguments = get_args(kind)
    if isinstance(value, Mapping) and _is_struct(kind):
        for field in msgspec.structs.fields(kind):
            if field.encode_name in value:
                yield field.encode_name, value[field.encode_name], field.type
    elif isinstance(value, Mapping) and get_origin(kind) is dict:
        yield from ((key, item, arguments[1]) for key, item in value.items())
    elif isinstance(value, list | tuple) and get_origin(kind) in (list, tuple):
        if get_origin(kind) is list or arguments[1:] == (...,):
            arguments = arguments[:1] * len(value)
        yield from ((index, item, kind) for index, (item, kind) in enumerate(zip(value, arguments, strict=False)))


def _bare(kind: Any, value: Any) -> Any:
    """Return ``kind`` without Annotated and None; of a union, its only member with parts like those of ``value``."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    members = [_bare(member, value) for member in get_args(kind) if member is not type(None)]
    if len(members) > 1:
        form = (dict,) if isinstance(value, Mapping) else (list, tuple) if isinstance(value, list | tuple) else ()
        members = [member for member in members if get_origin(member) in form or (dict in form and _is_struct(member))]
    return members[0] if len(members) == 1 else kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _error_of(value: Any, kind: Any) -> ValueError | None:
    try:
        msgspec.convert(value, kind)
    except ValueError as error:
        return error
    return None


def _allowed(kind: inspect.Type) -> str | None:
    """Describe the allowed values; None for a type that is not described here."""
    text: str | None = None
    match kind:
        case inspect.Metadata(type=inner, extra=extra):
            text = (extra or {}).get("allowed") or _allowed(inner)
        case inspect.UnionType(types=members):
            texts = [_allowed(member) for member in members if not isinstance(member, inspect.NoneType)]
            text = None if None in texts else " or ".join(text for text in texts if text)
        case inspect.LiteralType(values=values):
            text = ("one of " if len(values) > 1 else "") + ", ".join(map(repr, values))
        case inspect.BoolType():
            text = "true or false"
        case inspect.IntType():
            text = "a whole number" + _range(kind)
        case inspect.FloatType():
            text = "a number" + _range(kind)
        case inspect.StrType():
            text = _string(kind)
        case inspect.ListType() | inspect.VarTupleType():
            text = "a list" + _length(kind, "value")
        case inspect.TupleType(item_types=items):
            text = f"a list of {len(items)} values"
        case inspect.DictType():
            text = "a table" + _length(kind, "key")
        case inspect.StructType():
            text = "a table"
    return text


def _string(kind: inspect.StrType) -> str:
    if kind.pattern is not None:
        return f"a string that matches {kind.pattern}"
    non_empty = kind.min_length == 1 and kind.max_length is None
    return "a non-empty string" if non_empty else "a string" + _length(kind, "character")


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    multiple = "" if kind.multiple_of is None else f", a multiple of {_number(kind.multiple_of)}"
    if kind.ge is not None and kind.le is not None:
        return f" between {_number(kind.ge)} and {_number(kind.le)}{multiple}"
    named = {"at least": kind.ge, "above": kind.gt, "at most": kind.le, "below": kind.lt}
    limits = " and ".join(f"{name} {_number(limit)}" for name, limit in named.items() if limit is not None)
    return (" of " if limits.startswith("at ") else " " if limits else "") + limits + multiple


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else str(value)


def _length(kind: Any, item: str) -> str:
    low, high = kind.min_length or 0, kind.max_length
    if high is None:
        text = f" of at least {low} {item}" if low else ""
    else:
        text = f" of {low} to {high} {item}" if low else f" of at most {high} {item}"
    return text + "s" if text and (high or low) != 1 else text


def _joined(path: str, step: str | int) -> str:
    if isinstance(step, int):
        return f"{path}[{step}]"
    key = step if _PLAIN_KEY.fullmatch(step) else shown(step)
    return f"{path}.{key}" if path else key


def shown(value: Any) -> str:
    """Return ``value`` as it is quoted in errors: its repr without passwords, of at most 60 characters."""
    try:
        text = redacted(repr(value))
    except ValueError:  # Python does not print integers of more than a few thousand digits
        return f"{'a number' if isinstance(value, int) else 'a value that contains a number'} with thousands of digits"
    except RecursionError:
        return "a value that is nested too deeply"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
