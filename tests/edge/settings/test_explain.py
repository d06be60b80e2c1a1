"""The wording of msgspec's validation errors: key path, allowed values, given value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from fer_edge.settings.explain import explain


class Detector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["haar", "yunet"] = "haar"
    min_face_px: Annotated[int, Meta(ge=8, le=8192, description="Minimum face width.")] = 48
    model: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "yunet" and self.model is None:
            raise ValueError('kind = "yunet" needs\nmodel')
        if self.model == "":
            raise ValueError("the model has no name")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    detector: Detector = Detector()
    by_name: dict[str, Detector] = {}
    rotate: Literal[0, 90] = 0
    output: Literal["logits"] = "logits"
    share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    scale: Annotated[float, Meta(ge=1e-30, le=1e30)] = 1
    rate: Annotated[float, Meta(ge=0.01)] | None = None
    most: Annotated[int, Meta(le=5)] = 1
    below: Annotated[float, Meta(ge=0, lt=1)] = 0
    even: Annotated[int, Meta(multiple_of=2)] = 0
    number: float = 0
    mirror: bool = False
    name: Annotated[str, Meta(min_length=1)] = "x"
    short: Annotated[str, Meta(max_length=1)] = ""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", extra={"allowed": "64 hexadecimal digits"})] | None = None
    word: Annotated[str, Meta(pattern="^a+$")] = "a"
    uris: tuple[str, ...] = ()
    labels: Annotated[tuple[str, ...], Meta(min_length=2)] = ("a", "b")
    few: Annotated[list[int], Meta(min_length=1, max_length=3)] = msgspec.field(default_factory=lambda: [1])
    mask: tuple[tuple[float, ...], ...] = ()
    pair: tuple[int, str] = (1, "a")
    some: Annotated[dict[str, int], Meta(min_length=1)] = msgspec.field(default_factory=lambda: {"a": 1})
    either: int | list[int] | None = None


class Needy(msgspec.Struct, frozen=True):
    input: Detector
    inner: Annotated[Needy | None, Meta(description="More of the same.")] = None


def explained(value: Any, kind: Any = Settings) -> str:
    with pytest.raises(ValueError) as caught:
        msgspec.convert(value, kind)
    return explain(caught.value, value, kind)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"detector": {"min_face_px": 0}}, "detector.min_face_px must be a whole number between 8 and 8192, not 0"),
        (
            {"detector": {"min_face_px": True}},
            "detector.min_face_px must be a whole number between 8 and 8192, not True",
        ),
        ({"detector": {"min_face_px": 9.0}}, "detector.min_face_px must be a whole number between 8 and 8192, not 9.0"),
        ({"detector": {"kind": "x"}}, "detector.kind must be one of 'haar', 'yunet', not 'x'"),
        ({"detector": []}, "detector must be a table, not []"),
        ({"detector": None}, "detector must be a table, not None"),
        ({"by_name": {"a": {}, "b": {"model": 1}}}, "by_name.b.model must be a string, not 1"),
        ({"by_name": {"a b": 7}}, "by_name.'a b' must be a table, not 7"),
        ({"by_name": {7: {}}}, "by_name: a key must be a string, not 7"),
        ({"rotate": 45}, "rotate must be one of 0, 90, not 45"),
        ({"output": "x"}, "output must be 'logits', not 'x'"),
        ({"share": 0}, "share must be a number above 0 and at most 1, not 0"),
        ({"scale": "1"}, "scale must be a number between 1e-30 and 1e+30, not '1'"),
        ({"rate": 0}, "rate must be a number of at least 0.01, not 0"),
        ({"most": 6}, "most must be a whole number of at most 5, not 6"),
        ({"below": 1}, "below must be a number of at least 0 and below 1, not 1"),
        ({"even": 1}, "even must be a whole number, a multiple of 2, not 1"),
        ({"number": None}, "number must be a number, not None"),
        ({"number": 10**5000}, "number must be a number, not a number with thousands of digits"),
        (
            {"most": [10**5000]},
            "most must be a whole number of at most 5, not a value that contains a number with thou",
        ),
        ({"mirror": 1}, "mirror must be true or false, not 1"),
        ({"name": ""}, "name must be a non-empty string, not ''"),
        ({"short": "ab"}, "short must be a string of at most 1 character, not 'ab'"),
        ({"sha256": "0"}, "sha256 must be 64 hexadecimal digits, not '0'"),
        ({"word": "b"}, "word must be a string that matches ^a+$, not 'b'"),
        ({"uris": "demo"}, "uris must be a list, not 'demo'"),
        ({"uris": ["demo", 0]}, "uris[1] must be a string, not 0"),
        ({"labels": ["a"]}, "labels must be a list of at least 2 values, not ['a']"),
        ({"few": []}, "few must be a list of 1 to 3 values, not []"),
        ({"mask": [[0, 1], [0, "1"]]}, "mask[1][1] must be a number, not '1'"),
        ({"pair": [1]}, "pair must be a list of 2 values, not [1]"),
        ({"pair": [1, 2]}, "pair[1] must be a string, not 2"),
        ({"some": {}}, "some must be a table of at least 1 key, not {}"),
        ({"either": "x"}, "either must be a whole number or a list, not 'x'"),
        ({"either": [1, "x"]}, "either[1] must be a whole number, not 'x'"),
        ({"detector": {"min_fce": 9}}, "unknown key detector.min_fce; did you mean min_face_px?"),
        ({"detector": {"zz": 9}}, "unknown key detector.zz; allowed here: kind, min_face_px, model"),
        ({"x - at `$.detector": 9}, "unknown key 'x - at `$.detector'; did you mean detector?"),
        ({"detector": {"kind": "yunet"}}, 'detector.kind = "yunet" needs model'),
        ({"by_name": {"a": {"model": ""}}}, "by_name.a: the model has no name"),
        ({"output": "\ud800"}, r"output must be 'logits', not '\ud800'"),
        ({"detector": {"\ud800": 1}}, r"detector: a key must be a string of valid Unicode, not '\ud800'"),
        ([], "top level must be a table, not []"),
        ({3: 4}, "a key must be a string of valid Unicode, not 3"),
        ({"most": {3: 4}}, "most must be a whole number of at most 5, not {3: 4}"),
        (MappingProxyType({"name": ""}), "name must be a non-empty string, not ''"),
    ],
)
def test_a_line_names_the_key_the_allowed_values_and_the_given_value(value: Any, line: str) -> None:
    text = explained(value)
    assert text == line or (text.startswith(line) and len(line) > 40)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({}, "input is missing"),
        ({"unknown": 1}, "input is missing"),
        ({"input": {}, "inner": {"inner": {"input": {}}}}, "inner.input is missing"),
        ({"input": {}, "inner": {"input": {"model": 1}}}, "inner.input.model must be a string, not 1"),
    ],
)
def test_a_missing_key(value: Any, line: str) -> None:
    assert explained(value, Needy) == line


def test_a_value_that_is_a_struct_already() -> None:
    assert explained({"detector": Detector(), "name": ""}) == "name must be a non-empty string, not ''"
    assert explained({"detector": Needy(Detector())}).startswith("detector must be a table, not Needy(")


def test_an_error_in_the_top_level_struct_has_no_path() -> None:
    assert explained({"kind": "yunet"}, Detector) == 'kind = "yunet" needs model'


def test_passwords_are_redacted_also_where_the_value_is_shortened() -> None:
    url = "rtsp://user:secret@camera/" + "x" * 100
    for value in ({"most": url}, {"most": [url]}, {url: 1}, {"by_name": {url: 1}}):
        text = explained(value)
        assert "secret" not in text and "rtsp://user:***@camera" in text


# One fault somewhere in a random value of a random type


@dataclass(frozen=True)
class Fault:
    """A ``kind``, a ``good`` value of it, and a ``bad`` one whose fault is ``given`` at ``path``."""

    kind: Any
    good: Any
    bad: Any
    given: Any
    path: str = ""
    allowed: str = ""


SHORT_TEXT = st.text(max_size=8)
NO_NUMBER = st.none() | st.booleans() | SHORT_TEXT | st.just("\ud800") | st.just([]) | st.just({})
LEAVES = [
    (bool, True, st.integers() | SHORT_TEXT, "true or false"),
    (int, 7, NO_NUMBER | st.floats(), "a whole number"),
    (Annotated[int, Meta(ge=1, le=9)], 7, NO_NUMBER | st.integers(max_value=0), "a whole number between 1 and 9"),
    (float, 7, NO_NUMBER, "a number"),
    (Annotated[float, Meta(ge=0.5)], 7, NO_NUMBER | st.just(float("nan")), "a number of at least 0.5"),
    (str, "a", st.integers() | st.none(), "a string"),
    (Annotated[str, Meta(min_length=1)], "a", st.integers() | st.just(""), "a non-empty string"),
    (Literal["a", "b"], "a", SHORT_TEXT.filter(lambda text: text not in ("a", "b")), "one of 'a', 'b'"),
    (str | None, None, st.integers() | st.just([]), "a string"),
    (tuple[int, ...], [], SHORT_TEXT | st.integers(), "a list"),
    (dict[str, int], {}, SHORT_TEXT | st.integers() | st.just([]), "a table"),
]
KEYS = st.text("abc_09", min_size=1, max_size=4)


@st.composite
def leaves(draw: st.DrawFn) -> Fault:
    kind, good, bad, allowed = draw(st.sampled_from(LEAVES))
    given = draw(bad)
    return Fault(kind, good, given, given, allowed=allowed)


@st.composite
def wrapped(draw: st.DrawFn, inner: st.SearchStrategy[Fault]) -> Fault:
    fault = draw(inner)
    form = draw(st.sampled_from(["struct", "dict", "list", "tuple", "optional"]))
    if form == "optional":
        return fault if fault.bad is None else replace(fault, kind=fault.kind | None)
    if form in ("list", "tuple"):
        before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        kind = list[fault.kind] if form == "list" else tuple[fault.kind, ...]  # type: ignore[name-defined]
        bad = [fault.good] * before + [fault.bad] + [fault.good] * after
        step = f"[{before}]"
        path = step + ("" if fault.path.startswith("[") or not fault.path else ".") + fault.path
        return replace(fault, kind=kind, good=[fault.good], bad=bad, path=path)
    names = draw(st.lists(KEYS.map(lambda key: f"k{key}"), min_size=1, max_size=3, unique=True))
    name = draw(st.sampled_from(names))
    path = name + ("" if fault.path.startswith("[") or not fault.path else ".") + fault.path
    if form == "dict":
        kind = dict[str, fault.kind]  # type: ignore[name-defined]
    else:
        kind = msgspec.defstruct(
            "Random", [(key, fault.kind) for key in names], forbid_unknown_fields=draw(st.booleans())
        )
    good = dict.fromkeys(names, fault.good)
    return replace(fault, kind=kind, good=good, bad={**good, name: fault.bad}, path=path)


FAULTS = st.recursive(leaves(), wrapped, max_leaves=6)


@given(FAULTS)
def test_the_line_names_path_and_value_of_any_fault(fault: Fault) -> None:
    msgspec.convert(fault.good, fault.kind)
    text = explained(fault.bad, fault.kind)
    assert text == f"{fault.path or 'top level'} must be {fault.allowed}, not {fault.given!r}"


@given(FAULTS, st.text(st.characters(exclude_categories=())))
def test_any_key_is_named_on_one_line(fault: Fault, key: str) -> None:
    text = explained({key: fault.bad}, dict[str, fault.kind])  # type: ignore[name-defined]
    assert text.startswith((key, repr(key)[:50]))
    assert text.isprintable() and len(text) < 300


@given(st.recursive(NO_NUMBER | st.integers() | st.floats(), lambda part: st.lists(part) | st.dictionaries(KEYS, part)))
def test_any_value_of_any_setting_gives_one_short_line(value: Any) -> None:
    for name in Settings.__struct_fields__:
        try:
            msgspec.convert({name: value}, Settings)
        except ValueError as error:
            text = explain(error, {name: value}, Settings)
            assert name in text and text.isprintable() and len(text) < 250
