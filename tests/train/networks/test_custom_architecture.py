"""``architecture = "module:function"``: trained at several sizes, stopped, resumed and continued."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.processes import fork
from support.training.mini_run import MiniRun, assert_refused

BUILDER = """
import os
import keras
from keras import layers

calls = 0

def pooled(height, width, labels):
    global calls
    calls += 1
    if os.environ.get("STOP_AT") == str(calls):
        raise KeyboardInterrupt
    pixels = keras.Input((height, width, 1))
    x = layers.GaussianNoise(0.05)(layers.Rescaling(1 / 255)(pixels))
    x = layers.BatchNormalization()(layers.Conv2D(16, 5, strides=4, activation="relu")(x))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(layers.SpatialDropout2D(0.1)(x)))
    return keras.Model(pixels, layers.Dense(labels)(x))

def flat(height, width, labels):
    pixels = keras.Input((height, width, 1))
    return keras.Model(pixels, layers.Dense(labels)(layers.Flatten()(layers.Conv2D(16, 5, strides=4)(pixels))))
"""
RECIPE = """
name = "mine"
[model]
architecture = "mynet:{function}"
[loop]
epochs = {epochs}
batch_size = 28
learning_rate = 0.01
cooldown_epochs = 1
sizes = {sizes}
size_changes = {changes}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the builder and its recipes."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mynet.py").write_text(BUILDER)
    for name, function, epochs, sizes, changes in (
        ("long", "pooled", 3, [32, 48], [1]),
        ("flat", "flat", 3, [32, 48], [1]),
    ):
        text = RECIPE.format(function=function, epochs=epochs, sizes=sizes, changes=changes)
        (folder / f"{name}.toml").write_text(text)
    return folder


def history(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "best")} for line in lines]


@pytest.fixture(scope="module")
def straight(place: Path, mini_run: MiniRun) -> list[dict[str, Any]]:
    done = fork.fer_edge("train", "--config", "long.toml", "--out", "straight", data=mini_run.data, cwd=place)
    assert done.returncode == 0, done.stderr
    return history(place / "straight")


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_end(
    place: Path, straight: list[dict[str, Any]], mini_run: MiniRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size changes after the stop, and layers draw random numbers."""
    assert [line["size"] for line in straight] == [32, 48, 48]
    command = ("train", "--config", "long.toml", "--out", "stopped")
    # Both sizes are checked, the first is trained, the second validated; then it is built again for training.
    monkeypatch.setenv("STOP_AT", "5")
    stopped = fork.fer_edge(*command, data=mini_run.data, cwd=place)
    assert stopped.returncode == 130, stopped.stderr
    assert "continue with --resume" in stopped.stderr
    assert history(place / "stopped") == straight[:1]
    monkeypatch.delenv("STOP_AT")

    shutil.copytree(place / "stopped", place / "changed")
    text = (place / "mynet.py").read_text()
    (place / "mynet.py").write_text(text.replace('"relu"', '"tanh"'))
    refused = fork.fer_edge(*command[:3], "--out", "changed", "--resume", data=mini_run.data, cwd=place)
    (place / "mynet.py").write_text(text)
    assert_refused(refused, 2, "mynet:pooled", "another network now", "Conv2D with activation = 'relu'")

    # A run that is stopped at full rate can also be a start for others.
    onward = ("train", "--config", "long.toml", "--from", "changed", "--out", "onward")
    started = fork.fer_edge(*onward, data=mini_run.data, cwd=place)
    assert started.returncode == 0, started.stderr
    assert history(place / "onward") == straight

    resumed = fork.fer_edge(*command, "--resume", data=mini_run.data, cwd=place)
    assert resumed.returncode == 0, resumed.stderr
    assert history(place / "stopped") == straight


@pytest.mark.slow
def test_a_network_whose_weights_go_by_the_size_learns_at_one(place: Path, mini_run: MiniRun) -> None:
    refused = fork.fer_edge("train", "--config", "flat.toml", "--out", "flat", data=mini_run.data, cwd=place)
    assert_refused(refused, 2, "mynet:flat", "32x32", "other weights", "loop.sizes = [48]")
    assert not (place / "flat").exists()
