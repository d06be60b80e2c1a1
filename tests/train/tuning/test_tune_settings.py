"""``[tune]`` of a recipe: accepted and refused ranges; every trial's recipe can be trained."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.commands.cli import main
from fer_edge.errors import ConfigError, install_command
from fer_edge.settings.base import to_table
from fer_train.recipe.recipe import Recipe, load_recipe
from fer_train.tuning.settings import Choices, Span, TuneSettings, from_table, load_search
from support.environments.fresh_install import CHECKOUT
from support.training.mini_run import assert_refused

QUICK = CHECKOUT / "train" / "configs" / "tune-quick.toml"


def written(folder: Path, text: str) -> Path:
    path = folder / "tune.toml"
    path.write_text(text)
    return path


def test_the_shipped_search_reads_and_survives_being_kept_in_a_study() -> None:
    search = load_search(QUICK)
    assert search.ranges["loop.learning_rate"] == Span(1e-4, 3e-2, log=True)
    assert search.ranges["augment.rotate_degrees"] == Span(0.0, 20.0, step=5.0)
    assert search.ranges["model.widths"] == Choices(([16, 32], [24, 48], [16, 48]))
    assert from_table(search.to_table(), "the study") == search
    assert load_recipe(QUICK) == search.recipe  # a plain run ignores [tune]
    assert search.own_values() == {
        "loop.learning_rate": 0.004,
        "loop.batch_size": 128,
        "loop.label_smoothing": 0.05,
        "augment.rotate_degrees": 10.0,
        "model.widths": [16, 32],
    }


def test_each_trial_has_its_values_and_the_best_its_own_epochs(tmp_path: Path) -> None:
    search = load_search(
        written(
            tmp_path, '[tune]\nepochs = 2\n[tune.ranges]\n"model.widths" = { choices = [[8, 8, 8], [16, 16, 16]] }\n'
        )
    )
    trial = search.trial_recipe({"model.widths": [8, 8, 8]}, 7)
    assert (trial.name, trial.model.widths, trial.loop.epochs) == ("unnamed-0007", (8, 8, 8), 2)
    best = search.best_recipe({"model.widths": [8, 8, 8]})
    assert (best.name, best.model.widths, best.loop.epochs) == ("unnamed-tuned", (8, 8, 8), Recipe().loop.epochs)


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        ("", ["tune.ranges must name"]),
        ("ranges = {}", ["tune.ranges must name"]),
        ("trials = 0", ["tune", "tune.trials must be", "between 1 and 10000, not 0"]),
        ("trial = 3", ["unknown key tune.trial", "trials"]),
        ('metric = "f1"', ["tune.metric", "'accuracy', 'cross_entropy'"]),
        ('[ranges]\n"loop.rate" = { low = 1, high = 2 }', ["loop.rate", "learning_rate"]),
        ('[ranges]\n"rate" = { low = 1, high = 2 }', ["rate", "loop"]),
        ('[ranges]\n"name" = { choices = ["a", "b"] }', ["name", "cannot be searched"]),
        ('[ranges]\n"data.size" = { choices = [32, 48] }', ["data", "cannot be searched"]),
        ('[ranges]\n"loop.averaged_epochs" = { low = 1, high = 2 }', ["averaged_epochs", "best epoch"]),
        ('[ranges]\n"loop" = { low = 1, high = 2 }', ["loop is a table", '"loop.']),
        ('[ranges]\n"loop.epochs.x" = { low = 1, high = 2 }', ["no loop.epochs.x"]),
        ('[ranges]\n"loop.epochs" = 3', ["loop.epochs", "table"]),
        ('[ranges]\n"loop.epochs" = { low = 1 }', ["loop.epochs", "high"]),
        ('[ranges]\n"loop.epochs" = { low = 3, high = 1 }', ["3 is not below 1"]),
        ('[ranges]\n"loop.epochs" = { low = 1.5, high = 3 }', ["whole numbers"]),
        ('[ranges]\n"loop.epochs" = { low = 2, high = 5, steps = 1 }', ["unknown key steps", "step"]),
        ('[ranges]\n"loop.learning_rate" = { low = "a", high = 2 }', ["low must be a number"]),
        ('[ranges]\n"loop.learning_rate" = { low = nan, high = 2 }', ["finite"]),
        ('[ranges]\n"loop.learning_rate" = { low = 0, high = 1, log = true }', ["log needs a low above 0"]),
        ('[ranges]\n"loop.learning_rate" = { low = 0.1, high = 1, step = 0.2 }', ["whole steps"]),
        ('[ranges]\n"loop.optimizer" = { low = 1, high = 2 }', ["loop.optimizer", "choices"]),
        ('[ranges]\n"loop.optimizer" = { choices = ["sgd", "adam"] }', ["loop.optimizer", "'adamw', 'sgd'"]),
        ('[ranges]\n"loop.optimizer" = { choices = ["sgd"] }', ["two or more"]),
        ('[ranges]\n"loop.optimizer" = { choices = ["sgd", 1979-05-27] }', ["numbers, strings"]),
        (
            '[ranges]\n"loop.batch_size" = { low = 1, high = 64 }',
            ["loop.batch_size = 1", "loop.batch_size must be a whole number between 2 and 1000000, not 1"],
        ),
        ('[ranges]\n"model.dropout" = { low = 0, high = 1 }', ["model.dropout = 1.0", "dropout must be"]),
        ('[ranges]\n"model.blocks" = { choices = [[1, 1, 1], [1, 1]] }', ["model.blocks = [1, 1]", "equally long"]),
        # Each is allowed on its own.
        (
            '[ranges]\n"loop.cooldown_epochs" = { low = 0, high = 30 }\n"loop.warmup_epochs" = { low = 1, high = 20 }',
            ["cooldown_epochs = 30, loop.warmup_epochs = 20.0"],
        ),
        ('epochs = 3\n[ranges]\n"loop.epochs" = { low = 1, high = 5 }', ["exclude each other"]),
        ('epochs = 3\n[ranges]\n"loop.warmup_epochs" = { low = 1, high = 5 }', ["tune.epochs = 3", "warmup_epochs"]),
    ],
)
def test_a_wrong_range_is_refused_by_its_key(tune: str, words: list[str], tmp_path: Path) -> None:
    path = written(tmp_path, "[tune]\n" + tune.replace("[ranges]", "[tune.ranges]"))
    with pytest.raises(ConfigError) as refused:
        load_search(path)
    text = str(refused.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    for word in words:
        assert word in text


ENDS = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=3), st.none())
TABLES = st.dictionaries(
    st.sampled_from(["low", "high", "step", "log", "choices", "x"]), ENDS | st.lists(ENDS, max_size=3)
)
KEYS = st.sampled_from(
    ["loop.learning_rate", "loop.epochs", "loop.optimizer", "model.widths", "model.vgg16.tuned_rate", "loop", "a.b", ""]
)


@given(ranges=st.dictionaries(KEYS, TABLES, max_size=3))
def test_no_table_of_ranges_breaks_the_parser(ranges: dict[str, Any]) -> None:
    table = {**to_table(Recipe()), "tune": {"ranges": ranges}}
    try:
        search = from_table(table, "test")
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    for values in ({key: each.ends()[end] for key, each in search.ranges.items()} for end in (0, -1)):
        search.trial_recipe(values, 1)


@given(low=st.floats(1e-12, 1e3), high=st.floats(1e-12, 1e3), log=st.booleans())
def test_any_range_of_rates_that_rises_is_taken_as_written(low: float, high: float, log: bool) -> None:
    table = {**to_table(Recipe()), "tune": {"ranges": {"loop.learning_rate": {"low": low, "high": high}}}}
    table["tune"]["ranges"]["loop.learning_rate"]["log"] = log
    if low >= high:
        with pytest.raises(ConfigError, match="below"):
            from_table(table, "test")
        return
    search = from_table(table, "test")
    assert search.ranges == {"loop.learning_rate": Span(low, high, log=log)}
    middle = math.sqrt(low * high)
    assert search.trial_recipe({"loop.learning_rate": middle}, 1).loop.learning_rate == middle


def test_the_command_refuses_before_it_makes_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, out, run = written(tmp_path, "[loop]\nepochs = 1\n"), tmp_path / "out", tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text("")
    for config, options, words in (
        (plain, ["--tune"], ["tune.toml", "no [tune]"]),
        (plain, ["--workers", "2"], ["--tune"]),
        (QUICK, ["--tune", "--workers", "0"], ["--workers"]),
        (QUICK, ["--tune", "--resume"], ["nothing to resume"]),
        (QUICK, ["--tune", "--wait", "5"], ["--wait", "not for --tune"]),
        (QUICK, ["--tune", "--from", str(run)], ["--from"]),
        (QUICK, ["--tune", "--data", str(tmp_path / "no.csv")], ["no.csv"]),
        (QUICK, ["--tune", "--out", str(run)], ["holds a run"]),
    ):
        command = ["train", "--config", str(config), "--out", str(out), *options]
        assert_refused(subprocess.CompletedProcess(command, main(command), *capsys.readouterr()), 2, *words)
        assert not out.exists()


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("raise ModuleNotFoundError('No module', name='optuna')\n")
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge", "train", "--tune", "--config", QUICK, "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(done, 2, f"optuna is not installed: {install_command('tune')}")


def test_the_readme_lists_the_keys_and_their_defaults_and_shows_a_search(tmp_path: Path) -> None:
    text = (QUICK.parents[2] / "docs" / "how-to" / "tune.md").read_text()
    [shown] = re.findall(r"^```toml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert len(load_search(written(tmp_path, shown)).ranges) == 3
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", text, flags=re.MULTILINE))
    assert rows == {each.name: str(each.default) for each in msgspec.structs.fields(TuneSettings)}
