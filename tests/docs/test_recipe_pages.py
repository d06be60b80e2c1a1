"""Files that are written from the definitions of a recipe: its JSON Schema and the reference page."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
import write_recipes

from fer_edge.errors import ConfigError
from fer_train.recipe.recipe import load_recipe

CHECKOUT = Path(__file__).parents[2]
PAGES = write_recipes.pages()
SCHEMA = CHECKOUT / "train" / "recipe.schema.json"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_the_written_files_are_those_of_the_definitions(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run: make recipes"


def test_each_key_is_described() -> None:
    for section, kind in write_recipes.SECTIONS.items():
        for name, _, description, _ in write_recipes.fields_of(kind):
            assert description.endswith(".") and len(description) > 20, f"{section} {name}"


@pytest.mark.parametrize("path", sorted((CHECKOUT / "train" / "configs").rglob("*.toml")), ids=lambda path: path.stem)
def test_the_schema_accepts_each_committed_recipe(path: Path) -> None:
    jsonschema.validate(tomllib.loads(path.read_text(encoding="utf-8")), json.loads(SCHEMA.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("[lop]", "unknown key lop; did you mean loop?"),
        ("[loop]\nepoch = 3", "unknown key loop.epoch; did you mean epochs?"),
        ("[loop]\nepochs = 0", "loop.epochs must be a whole number between 1 and 1000000, not 0"),
        ("[loop]\nepochs = '3'", "loop.epochs must be a whole number between 1 and 1000000, not '3'"),
        ("[augment]\nflip = 1.5", "augment.flip must be a number between 0 and 1, not 1.5"),
        ("[model]\nblock = 'vgg'", "model.block must be one of 'inverted', 'plain', 'repvgg', 'residual', not 'vgg'"),
        ("[model.vgg16]\nenlarge = 9", "model.vgg16.enlarge must be a whole number between 1 and 8, not 9"),
        ("[[data.sets]]\nweight = 0", "data.sets[0].weight must be a finite number above 0, not 0"),
        (
            "[[data.sets]]\nlayout = 'raf'",
            "data.sets[0].layout must be one of 'affectnet', 'folders', 'raf-db', not 'raf'",
        ),
        ("model = 3", "model must be a table, not 3"),
    ],
)
def test_schema_and_program_refuse_the_same(text: str, refusal: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    assert not jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(tomllib.loads(text))
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"{path}: {refusal}"


@pytest.mark.parametrize(
    ("key", "table"),
    [("learning_rate", "loop"), ("warmup_epochs", "loop"), ("weight_decay", "loop"), ("mixup_alpha", "augment")],
)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_refused(key: str, table: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"[{table}]\n{key} = {value}")
    with pytest.raises(ConfigError, match=rf"{path}: {table}\.{key} must be .*, not {value}$"):
        load_recipe(path)
