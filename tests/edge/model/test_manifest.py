"""The rules of the manifest: reading, refusals that name the key, writing."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.errors import ModelError
from fer_edge.model.manifest import MANIFEST_NAME, ModelManifest, parse_manifest, read_manifest, write_manifest
from support.environments.fresh_install import CHECKOUT
from support.models.manifests import IO, TABLE, changed, make_bundle, without
from support.results.schemas import schema_text

ANYWHERE = Path("bundle")
ROOT = CHECKOUT
PRINTABLE = "a non-empty string of printable characters"
HUGE = 10**5000


# The schema

VALIDATOR = jsonschema.Draft202012Validator(json.loads(schema_text("manifest.schema.json")))
RELEASED = sorted(path for room in ("models", "edge/fer_edge/model") for path in (ROOT / room).glob("*/manifest.json"))


def test_the_schema_file_is_the_one_generated_from_the_structs() -> None:
    shipped = (files("fer_edge") / "schema" / "manifest.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text("manifest.schema.json"), "PYTHONPATH=edge:tests python -m support.results.schemas"
    jsonschema.Draft202012Validator.check_schema(json.loads(shipped))


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.parent.name)
def test_the_bundled_manifests_satisfy_the_schema(path: Path) -> None:
    assert len(RELEASED) >= 4
    VALIDATOR.validate(json.loads(path.read_text(encoding="utf-8")))
    assert list(read_manifest(path.parent).variants)


@pytest.mark.parametrize("path", ["labels", "input.height", "variants.int8.io", "variants.int8.bytes"])
def test_the_schema_refuses_a_missing_key(path: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(without(path))


# Reading


def test_a_manifest_is_read_completely() -> None:
    manifest = parse_manifest(TABLE, ANYWHERE)
    assert (manifest.name, manifest.version, manifest.license) == ("stand-in", "1.0.0", "Apache-2.0")
    assert manifest.labels == ("happy", "sad", "neutral")
    assert (manifest.input.height, manifest.input.width, manifest.input.channels) == (48, 40, 1)
    assert (manifest.output, manifest.temperature) == ("logits", 1.37)
    assert manifest.training["dataset"] == {"name": "mini"}
    variant = manifest.variants["int8"]
    assert variant.file == "int8.tflite"
    assert variant.accuracy == {"fer2013_public_test": 0.6}
    assert (variant.io.input.dtype, variant.io.input.scale, variant.io.input.zero_point) == ("uint8", 1.0, 0)
    assert (variant.io.output.dtype, variant.io.output.scale, variant.io.output.zero_point) == ("int8", 0.1, 3)


def test_optional_keys() -> None:
    manifest = parse_manifest(without("training"), ANYWHERE)
    assert manifest.training == {}
    assert parse_manifest(without("variants.int8.accuracy"), ANYWHERE).variants["int8"].accuracy == {}


@pytest.mark.parametrize("path", ["extra", "input.extra", "variants.int8.extra", "variants.int8.io.extra"])
def test_unknown_keys_are_ignored(path: str) -> None:
    assert parse_manifest(changed(path, {"anything": [1]}), ANYWHERE) == parse_manifest(TABLE, ANYWHERE)


@pytest.mark.parametrize(
    "path",
    [key for key in TABLE if key != "training"]
    + [f"input.{key}" for key in TABLE["input"]]
    + [f"variants.int8.{key}" for key in ("file", "sha256", "bytes", "io")]
    + [f"variants.int8.io.{key}" for key in IO],
)
def test_a_missing_key_is_named(path: str) -> None:
    with pytest.raises(ModelError, match=rf"manifest\.json: {path} is missing"):
        parse_manifest(without(path), ANYWHERE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("format", value) for value in (0, -1, True, "1", 1.0, None)),
        *(("labels", value) for value in ([], ["one"], ["a", "a"], ["a", ""], ["a", 1], "ab", None, ["a", "b\n"])),
        ("labels", ["a", "\ud800"]),  # half a surrogate pair, which JSON allows
        *(("temperature", value) for value in (0, -1.0, "1", True, None, 1e-300, 1e300, float("nan"), float("inf"))),
        ("temperature", 10**400),
        *(("output", value) for value in ("probabilities", "", 1)),
        *(("input.height", value) for value in (0, -48, 48.0, "48", True, 10**9)),
        ("input.channels", 3),
        *(("variants", value) for value in ({}, [], None, {"": TABLE["variants"]["int8"]})),
        *(("variants.int8.sha256", value) for value in ("", "ab", "g" * 64, "0" * 65, 7, "١" * 64)),
        *(("variants.int8.bytes", value) for value in (-1, 1.5, True, "9")),
        ("variants.int8.accuracy", []),
        ("variants.int8.accuracy.x", "high"),
        *(("variants.int8.io.input_dtype", value) for value in ("float16", "", "UINT8", 8)),
        *(("variants.int8.io.output_scale", value) for value in (0, -0.1, float("nan"), "0.1", 1e-320, 1e300)),
        *(("variants.int8.io.output_zero_point", value) for value in (0.5, True, "3", 10**30)),
        *((key, value) for key in ("name", "version", "license") for value in ("", 1, None, "a\x1b[2J")),
        ("training", "none"),
        ("input", [48, 48, 1]),
    ],
)
def test_a_wrong_value_is_named(path: str, value: Any) -> None:
    with pytest.raises(ModelError) as caught:
        parse_manifest(changed(path, value), ANYWHERE)
    assert str(caught.value).startswith(f"{ANYWHERE / MANIFEST_NAME}: {path}")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "name",
    [
        *("../int8.tflite", "sub/int8.tflite", "/etc/passwd", "..", ".", "sub\\int8.tflite", "..\\int8.tflite"),
        *("C:int8.tflite", "C:\\int8.tflite", "\\\\host\\share", "int8.tflite:stream", "a\0b", "", "a\nb", "\udcff"),
    ],
)
def test_a_variants_file_is_a_bare_name(name: str) -> None:
    with pytest.raises(ModelError, match=r"variants\.int8\.file must be"):
        parse_manifest(changed("variants.int8.file", name), ANYWHERE)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("format", 0, "must be 1, not 0"),
        ("name", "a\nb", rf"must be {PRINTABLE}, not 'a\nb'"),
        ("labels", ["a", ""], f"[1] must be {PRINTABLE}, not ''"),
        ("labels", ["a", "\ud800"], rf"[1] must be {PRINTABLE}, not '\ud800'"),
        ("labels", ["a"], "must be a list of at least two non-empty strings of printable characters, not ['a']"),
        ("labels", ["a", "b", "a"], "contains a label twice"),
        ("input.height", 0, "must be a whole number between 1 and 4096, not 0"),
        ("input.height", True, "must be a whole number between 1 and 4096, not True"),
        ("input.channels", 3, "must be 1, not 3"),
        ("output", "probabilities", "must be 'logits', not 'probabilities'"),
        ("temperature", 0, "must be a number between 0.01 and 100, not 0"),
        (
            "temperature",
            [HUGE],
            "must be a number between 0.01 and 100, not a value that contains a number with thousands",
        ),
        ("variants", {}, "must be a table of one or more variants, not {}"),
        ("variants", {"": {}}, f": a key must be {PRINTABLE}, not ''"),
        ("variants", {"\x1b": TABLE["variants"]["int8"]}, rf": a key must be {PRINTABLE}, not '\x1b'"),
        ("variants.int8.file", "../x", "must be a bare file name, not '../x'"),
        ("variants.int8.sha256", "0" * 63, f"must be 64 hexadecimal digits, not '{'0' * 56}..."),
        ("variants.int8.sha256", "0" * 64 + "\n", f"must be 64 hexadecimal digits, not '{'0' * 56}..."),
        ("variants.int8.accuracy", {"x": float("inf")}, ".x must be a finite number, not inf"),
        ("variants.int8.io.output_dtype", "i", "must be one of 'float32', 'int16', 'int8', 'uint8', not 'i'"),
        ("variants.int8.io.output_scale", 0, "must be a number between 1e-30 and 1e+30, not 0"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_an_error_has_the_key_the_allowed_and_the_given_value(path: str, value: Any, problem: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_manifest(changed(path, value), ANYWHERE)
    separator = "" if problem[0] in "[.:" else " "
    assert str(caught.value).startswith(f"{ANYWHERE / MANIFEST_NAME}: {path}{separator}{problem}")


def test_an_upper_case_sha256_is_read_in_lower_case() -> None:
    manifest = parse_manifest(changed("variants.int8.sha256", "AB" * 32), ANYWHERE)
    assert manifest.variants["int8"].sha256 == "ab" * 32


def test_a_whole_number_is_a_number() -> None:
    manifest = parse_manifest(changed("variants.int8.io.output_scale", 1), ANYWHERE)
    assert type(manifest.variants["int8"].io.output_scale) is float


@pytest.mark.parametrize("table", [{"format": 2}, {**TABLE, "format": 2, "labels": {"new": "form"}}])
def test_a_newer_format_is_reported_before_other_errors(table: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"format 2 is newer than 1: update fer-edge"):
        parse_manifest(table, ANYWHERE)


PATHS = [
    *TABLE,
    *(f"input.{key}" for key in TABLE["input"]),
    *("variants.int8", *(f"variants.int8.{key}" for key in TABLE["variants"]["int8"])),
    *(f"variants.int8.io.{key}" for key in IO),
    *("variants.other", "variants.int8.accuracy.x"),
]
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, 5e-324])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=()))
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(PATHS), JSON)
@settings(max_examples=400)
def test_random_values_give_a_manifest_or_a_model_error(path: str, value: Any) -> None:
    try:
        manifest = parse_manifest(changed(path, value), ANYWHERE)
    except ModelError as error:
        assert "manifest.json" in str(error)
        return
    for variant in manifest.variants.values():
        assert (ANYWHERE / variant.file).parent == ANYWHERE and (ANYWHERE / variant.file).name == variant.file
    ", ".join((*manifest.labels, manifest.name, *manifest.variants)).encode()  # everything can be printed


@given(st.sampled_from(PATHS), JSON)
def test_what_the_schema_refuses_is_refused(path: str, value: Any) -> None:
    table = changed(path, value)
    try:
        parse_manifest(table, ANYWHERE)
    except ModelError:
        return
    VALIDATOR.validate(table)


@given(JSON)
def test_any_json_gives_a_manifest_or_a_model_error(value: Any) -> None:
    with pytest.raises(ModelError):
        parse_manifest(value, ANYWHERE)


# Writing


def test_a_written_manifest_can_be_read(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    table = changed("training.note", "Grüße, 日本")
    write_manifest(folder, table)
    assert read_manifest(folder) == parse_manifest(table, folder)
    assert json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8")) == table


def tables() -> st.SearchStrategy[dict[str, Any]]:
    text = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=20)
    bare = text.filter(lambda name: not set(name) & set("/\\:") and name not in (".", ".."))
    dtype = st.sampled_from(["float32", "uint8", "int8", "int16"])
    scale, zero = st.floats(1e-6, 1e6), st.integers(-32768, 32767)
    sides = st.fixed_dictionaries(
        {f"{side}_{key}": value for side in ("input", "output") for key, value in _codec(dtype, scale, zero)}
    )
    variant = st.fixed_dictionaries(
        {
            "file": bare,
            "sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
            "bytes": st.integers(0, 2**40),
            "io": sides,
            "accuracy": st.dictionaries(text, st.floats(0, 1)),
        }
    )
    return st.fixed_dictionaries(
        {
            "format": st.just(1),
            **dict.fromkeys(("name", "version", "license"), text),
            "labels": st.lists(text, min_size=2, max_size=9, unique=True),
            "input": st.fixed_dictionaries(
                {"height": st.integers(1, 4096), "width": st.integers(1, 4096), "channels": st.just(1)}
            ),
            "output": st.just("logits"),
            "temperature": st.floats(0.05, 20),
            "variants": st.dictionaries(text, variant, min_size=1, max_size=3),
        }
    )


def _codec(*values: Any) -> list[tuple[str, Any]]:
    return list(zip(("dtype", "scale", "zero_point"), values, strict=True))


@given(table=tables())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_manifest_survives_writing_and_reading(tmp_path: Path, table: dict[str, Any]) -> None:
    write_manifest(tmp_path, table)
    manifest: ModelManifest = read_manifest(tmp_path)
    assert manifest == parse_manifest(table, tmp_path)
    assert manifest.labels == tuple(table["labels"])
    assert list(manifest.variants) == list(table["variants"])


@pytest.mark.parametrize(
    "table",
    [
        without("labels"),
        changed("variants.int8.file", "../int8.tflite"),
        changed("training.loss", float("nan")),
        changed("training.note", "\ud800"),
        changed("training.when", object()),
        changed("training.log", "x" * (1 << 20)),
    ],
)
def test_an_unreadable_manifest_is_not_written(tmp_path: Path, table: dict[str, Any]) -> None:
    folder = make_bundle(tmp_path / "b")
    before = (folder / MANIFEST_NAME).read_bytes()
    with pytest.raises(ModelError):
        write_manifest(folder, table)
    assert (folder / MANIFEST_NAME).read_bytes() == before
    assert len(list(folder.iterdir())) == 2
