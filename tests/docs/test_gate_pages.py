"""Files that are written from the definitions of the gate's rules: the JSON Schema and the reference page."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
import write_gate

from fer_convert.gate_rules import read_gate
from fer_edge.errors import ConfigError

CHECKOUT = Path(__file__).parents[2]
PAGES = write_gate.pages()
GATE = CHECKOUT / "convert" / "gate.toml"
SCHEMA = json.loads((CHECKOUT / "convert" / "gate.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_the_written_files_are_those_of_the_definitions(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run: make gate"


def test_each_rule_has_its_allowed_values_and_a_description() -> None:
    for section, kind in {"top": write_gate.Gate, **write_gate.SECTIONS}.items():
        rules = write_gate.rules_of(kind)
        assert rules
        for name, allowed, description in rules:
            assert allowed and description.endswith(".") and len(description) > 20, f"{section} {name}"


def test_the_schema_accepts_the_gate_of_the_releases_which_names_it() -> None:
    text = GATE.read_text(encoding="utf-8")
    assert text.startswith("#:schema gate.schema.json\n")
    jsonschema.validate(tomllib.loads(text), SCHEMA)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("[acuracy]", "unknown key acuracy; did you mean accuracy?"),
        ("[file]\nmax_byte = 1", "unknown key file.max_byte; did you mean max_bytes?"),
        ("[file]\nmax_bytes = 0", "file.max_bytes must be a whole number of at least 1, not 0"),
        ("[file]\noperators = 'ADD'", "file.operators must be a list, not 'ADD'"),
        ("[accuracy]\nmax_loss_points = '1'", "accuracy.max_loss_points must be a finite number, not '1'"),
        (
            "[latency]\nmax_time_over_float32 = 0",
            "latency.max_time_over_float32 must be a finite number above 0, not 0",
        ),
        ("variants = [8]", "variants[0] must be a string, not 8"),
    ],
)
def test_schema_and_program_refuse_the_same(text: str, refusal: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(tomllib.loads(text))
    with pytest.raises(ConfigError) as caught:
        read_gate(path)
    assert str(caught.value) == f"{path}: {refusal}"
