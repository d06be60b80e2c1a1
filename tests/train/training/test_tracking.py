"""``[tracking]`` of a recipe: what TensorBoard's and MLflow's own readers find, and nothing without it."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.errors import ConfigError, InputError, MissingExtraError
from fer_edge.settings.toml_files import read_toml
from fer_train.recipe.recipe import Recipe, load_recipe
from fer_train.recipe.tracking import TrackingSettings
from fer_train.training.tracking import Tracking, check_tracking, record_card
from support.training.mini_run import environment_with, fer_edge
from support.training.parallel import write_training


def train(folder: Path, tracking: str, *options: str, epochs: int = 2) -> None:
    recipe = folder / "recipe.toml"
    text = recipe.read_text().partition("[tracking]")[0].replace("epochs = 3", f"epochs = {epochs}")
    recipe.write_text(text + tracking)
    done = fer_edge("train", "--recipe", recipe, "--out", "run", *options, data=folder / "fer2013.csv", cwd=folder)
    assert done.returncode == 0, done.stderr


def history(folder: Path, key: str) -> list[float]:
    return [json.loads(line)[key] for line in (folder / "run" / "history.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_tensorboard_reads_curves_settings_report_and_card(tmp_path: Path) -> None:
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_training(tmp_path)
    train(tmp_path, '[tracking]\nkind = "tensorboard"\n')
    (tmp_path / "MODEL_CARD.md").write_text("# A card\n")
    record_card(tmp_path / "run", tmp_path / "MODEL_CARD.md")
    for part, key, tag in (
        ("train", "loss", "epoch_loss"),
        ("train", "accuracy", "epoch_accuracy"),
        ("validation", "val_accuracy", "epoch_accuracy"),
    ):
        found = EventAccumulator(str(tmp_path / "run" / "tensorboard" / part)).Reload()
        events = found.Tensors(tag)
        values = [float(tf.make_ndarray(event.tensor_proto)) for event in events]
        assert [event.step for event in events] == [0, 1]
        assert values == pytest.approx(history(tmp_path, key), rel=1e-5)
    texts = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()

    def text(tag: str) -> str:
        return str(texts.Tensors(tag)[0].tensor_proto.string_val[0].decode())

    assert "    epochs = 2\n" in text("settings")
    assert '"rows_sha256"' in text("report")
    assert text("model card") == "# A card\n"
    assert texts.Tensors("curves")[0].tensor_proto.string_val[2].startswith(b"\x89PNG")


@pytest.mark.slow
def test_mlflow_has_one_run_also_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    write_training(tmp_path)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    tracking = f'[tracking]\nkind = "mlflow"\nstore = "{store}"\nexperiment = "tiny"\n'
    train(tmp_path, tracking)
    # A run that was killed before its model was written.
    (tmp_path / "run" / "model.keras").unlink()
    train(tmp_path, tracking, "--resume")
    (tmp_path / "MODEL_CARD.md").write_text("# A card\n")
    monkeypatch.chdir(tmp_path)
    record_card(tmp_path / "run", tmp_path / "MODEL_CARD.md")
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["loop.epochs"] == "2" and run.data.params["model.architecture"] == "tiny_network:build"
    for key in ("loss", "val_accuracy"):
        points = sorted(client.get_metric_history(run.info.run_id, key), key=lambda point: point.step)
        assert [point.value for point in points] == pytest.approx(history(tmp_path, key))
    report = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run.data.metrics["final_params"] == report["params"]
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert names == {"config.toml", "curves.png", "run.json", "MODEL_CARD.md"}


@pytest.mark.slow
def test_without_it_nothing_is_imported_and_nothing_is_written(tmp_path: Path) -> None:
    write_training(tmp_path)
    code = """\
import sys
from fer_edge.commands.cli import main
assert main(["train", "--recipe", "recipe.toml", "--out", "run"]) == 0
print(sorted(name for name in ("mlflow", "tensorboard", "fer_chain", "doit") if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment_with(tmp_path / "fer2013.csv"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
    assert "tracking" not in read_toml(tmp_path / "run" / "config.toml")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best.keras", "checkpoint.keras", "config.toml", "curves.png", "data.json", "history.jsonl", "model.keras",
        "run.json", "run.lock",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [
        ("tensorboard", "tensorboard", "tensorboard"),
        ("tensorboard", "tensorflow", "train"),
        ("mlflow", "mlflow", "mlflow"),
        ("mlflow", "sqlalchemy", "mlflow"),
    ],
)
def test_a_missing_extra_is_named(kind: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(MissingExtraError, match=rf"^{package} is not installed: .*\[{extra}\]"):
        check_tracking(TrackingSettings(kind=kind))  # type: ignore[arg-type]
    check_tracking(None)


def test_a_password_in_the_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[tracking]\nkind = "mlflow"\nstore = "https://me:secret@server"\n')
    with pytest.raises(ConfigError, match="store must not contain a password") as caught:
        load_recipe(path)
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_store_that_cannot_be_opened_stops_the_training_and_one_that_fails_later_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "config.toml").write_text("")
    recipe = Recipe(tracking=TrackingSettings(kind="mlflow", store="http://127.0.0.1:1"))
    with pytest.raises(InputError, match="tracking: mlflow cannot record the run: "):
        Tracking(recipe, tmp_path, resumed=False).__enter__()

    database = tmp_path / "mlflow.db"
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(tracking=TrackingSettings(kind="mlflow", store=f"sqlite:///{database}"))
    line = {"epoch": 1, "loss": 2.0, "best": True}
    with caplog.at_level(logging.WARNING), Tracking(recipe, tmp_path, resumed=False) as _:
        pass
    tracking = Tracking(recipe, tmp_path, resumed=True)
    tracking.__enter__()
    import sqlite3

    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE metrics")
    tracking.epoch(None, line)
    tracking.epoch(None, line)
    tracking.__exit__(None, None, None)
    assert sum("the training continues" in record.getMessage() for record in caplog.records) == 1
