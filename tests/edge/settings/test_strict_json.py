"""JSON is decoded as json.loads does, without what RFC 8259 does not allow or leaves open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.settings.strict_json import decode_json

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
)


@given(JSON)
def test_valid_json_is_decoded(value: Any) -> None:
    assert decode_json(json.dumps(value)) == value
    assert decode_json(json.dumps(value, ensure_ascii=False).encode("utf-8-sig")) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' occurs twice in one object"),
        ('[{"x": {"\\u0061": 1, "a": 2}}]', "the key 'a' occurs twice in one object"),
        ('{"' + "k" * 1000 + '": 1, "' + "k" * 1000 + '": 1}', "the key 'kkk"),
        ("NaN", "NaN is not a JSON number"),
        ('{"a": [-Infinity]}', "-Infinity is not a JSON number"),
        ("1e999", "the number 1e999 is too large"),
        ("-1" + "0" * 400 + ".0", "the number -1000"),
        ("9" * 5000, "Exceeds the limit"),
        ("[" * 100_000, "nested too deeply"),
        ("", "Expecting value"),
        ("{'a': 1}", "Expecting property name"),
        ("1 2", "Extra data"),
        (b"\xff\xfe\xfa", "codec can't decode"),
    ],
    ids=lambda text: "",
)
def test_other_text_is_refused_on_one_line(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        decode_json(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 150


def test_the_same_key_in_two_objects_is_accepted() -> None:
    assert decode_json('[{"a": 1}, {"a": {"a": 2}}]') == [{"a": 1}, {"a": {"a": 2}}]
