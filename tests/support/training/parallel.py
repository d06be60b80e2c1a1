"""Distributed training by several processes, with such a small network that starting takes most of the time."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.errors import ConfigError
from fer_train.distributed.addresses import check_own_name
from support.data.fer2013 import write_mini_fer2013
from support.training.mini_run import environment_with

NETWORK = '''
def build(height, width, labels):
    """One convolution with BatchNorm, and a dense layer behind dropout."""
    import keras

    pixels = keras.Input((height, width, 1))
    x = keras.layers.AveragePooling2D(4)(keras.layers.Rescaling(1 / 255.0)(pixels))
    x = keras.layers.Conv2D(16, 3, strides=2, use_bias=False, kernel_initializer="random_uniform")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.8)(x))
    x = keras.layers.Dropout(0.1)(keras.layers.Flatten()(x))
    return keras.Model(pixels, keras.layers.Dense(labels, kernel_initializer="random_uniform")(x))
'''
RECIPE = """\
name = "tiny"
[model]
architecture = "tiny_network:build"
[augment]
rotate_degrees = 2.0
mixup_alpha = 0.2
[loop]
epochs = 3
batch_size = 32
learning_rate = 0.05
optimizer = "sgd"
weight_decay = 0.0
label_smoothing = 0.0
"""
PATIENCE_S = 300


def write_training(folder: Path) -> None:
    """Write the miniature data, the recipe and the module of its network."""
    write_mini_fer2013(folder / "fer2013.csv", per_class=24, test_per_class=8, leaks=3)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "tiny_network.py").write_text(NETWORK)
    # As on a machine with JAX alone: Keras would find TensorFlow and load it in each process.
    (folder / "without/tensorflow").mkdir(parents=True)
    (folder / "without/tensorflow/__init__.py").write_text('raise ImportError("not on this machine")\n')


def environment_of(folder: Path) -> dict[str, str]:
    """Return an environment with JAX alone, one thread per process, quick compilation and a cache of compiled code."""
    environment = environment_with(folder / "fer2013.csv")
    environment.pop("KERAS_BACKEND", None)
    return {
        **environment,
        "PYTHONPATH": str(folder / "without"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }


def start(folder: Path, *options: str | Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start ``fer-edge train`` in ``folder``, without waiting for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "fer_edge", "train", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**environment_of(folder), **(environment or {})},
    )


def start_pair(
    folder: Path,
    *options: str | Path,
    recipes: tuple[str, str] = ("recipe.toml", "recipe.toml"),
    environments: tuple[dict[str, str], dict[str, str]] = ({}, {}),
    wait_s: int = 120,
) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Start two processes that train together. Process 0's run is ``folder``/run; process 1 must not write anything.

    Skips the test if JAX cannot connect processes.
    """
    try:
        check_own_name()
    except ConfigError as error:
        pytest.skip(str(error))
    port = free_port()
    meeting = ("--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--wait", str(wait_s))
    first, second = (
        start(
            folder,
            *("--config", recipes[number], "--out", out, *meeting, "--process", str(number), *options),
            environment=environments[number],
        )
        for number, out in enumerate(("run", "nothing"))
    )
    return first, second


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Return the result of ``process`` once it has ended."""
    try:
        said = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"no end within {PATIENCE_S} s: {process.communicate()}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, *said)


def wait_until(happened: Callable[[], bool]) -> None:
    """Return as soon as it has."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
