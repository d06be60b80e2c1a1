"""One recipe on TensorFlow, PyTorch and JAX: the same accuracy within noise, and models that TensorFlow converts.

The data are a subset of FER2013, or the tests' gratings without it. ``make test-backends`` runs it and prints a table.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.errors import InputError
from fer_edge.model.bundle import load_bundle
from fer_train.data.dataset import load_dataset
from fer_train.training.run_folder.files import HISTORY, MODEL, RUN
from support.data.caches import users_cache
from support.data.fer2013 import USAGES, MiniRow, csv_bytes, write_csv, write_mini_fer2013
from support.training.mini_run import fer_edge
from support.training.runs import cut_back

BACKENDS = ("tensorflow", "torch", "jax")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in BACKENDS),
    reason="not all backends are installed: make test-backends",
)
LABELS = (3, 4, 5)
"""Happy, sad and surprise, which a small network separates after a few epochs."""
COUNTS = {"Training": 450, "PublicTest": 200, "PrivateTest": 8}
"""Images of each."""
EPOCHS = 4
RECIPE = f"""\
name = "small"
[model]
stem_stride = 2
widths = [16, 32, 64]
blocks = [1, 1, 1]
dropout = 0.1
[augment]
rotate_degrees = 5.0
erase_probability = 0.0
[loop]
epochs = {EPOCHS}
cooldown_epochs = 2
batch_size = 32
learning_rate = 0.005
label_smoothing = 0.0
sizes = [40, 48]
size_changes = [2]
"""
SEEDS = (1, 2, 3)
GATE = "variants = ['int8']\n[accuracy]\nmax_loss_points = 4.0\n"
"""Maximum loss of int8, by the upper end of the interval, which is about two points for so few images."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the first images of three labels of FER2013 to a CSV file; gratings if FER2013 is missing."""
    path = tmp_path_factory.mktemp("data") / "subset.csv"
    try:
        with users_cache():
            whole = load_dataset()
    except InputError:
        return write_mini_fer2013(path, per_class=COUNTS["Training"] // 2, test_per_class=COUNTS["PublicTest"] // 2)
    rows = []
    for usage in USAGES:
        split = whole.splits[usage]
        for label in LABELS:
            found = np.flatnonzero(split.labels == label)[: COUNTS[usage]]
            rows += [MiniRow(label, usage, split.images[index]) for index in found]
    return write_csv(path, csv_bytes(rows))


def train(backend: str, data: Path, run: Path, recipe: str, *options: str) -> list[dict[str, Any]]:
    """Run ``fer-edge train`` on ``backend``; return the lines of its history."""
    (run.parent / f"{run.name}.toml").write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", backend)
        done = fer_edge("train", "--config", run.parent / f"{run.name}.toml", "--out", run, *options, data=data)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / RUN).read_text())["backend"] == backend
    return [json.loads(line) for line in (run / HISTORY).read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Return histories by backend, and by further seeds of TensorFlow; ``folder_of`` returns their folders."""
    made = {backend: train(backend, data, folder_of(tmp_path_factory, backend), RECIPE) for backend in BACKENDS}
    for seed in SEEDS[1:]:
        name = f"tensorflow-{seed}"
        recipe = RECIPE.replace("[loop]", f"[loop]\nseed = {seed}")
        made[name] = train("tensorflow", data, folder_of(tmp_path_factory, name), recipe)
    return made


def folder_of(factory: pytest.TempPathFactory, name: str) -> Path:
    folder = factory.getbasetemp() / "agreement"
    folder.mkdir(exist_ok=True)
    return folder / name


def test_all_backends_reach_the_same_accuracy(
    runs: dict[str, list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    last = {name: lines[-1] for name, lines in runs.items()}
    accuracies = np.array([line["val_accuracy"] for line in last.values()])
    middle, images = float(accuracies.mean()), len(LABELS) * COUNTS["PublicTest"]
    # Two sources of noise. The choice of the test images: binomial, sqrt(p (1 - p) / n), which is too large, since all
    # runs have the same images. And the seed, whose spread TensorFlow's runs show: the backends draw different first
    # weights from one seed, so they differ as seeds do. The difference of two runs has twice the variance. With a limit
    # of three standard deviations, one correct comparison in 400 fails.
    binomial = math.sqrt(middle * (1 - middle) / images)
    seeds = float(np.std([last[name]["val_accuracy"] for name in last if name.startswith("tensorflow")], ddof=1))
    noise = 3 * math.sqrt(2 * (binomial**2 + seeds**2))
    with capsys.disabled():
        print(f"\n\n{'run':<14}{'s/epoch':>9}{'val accuracy':>14}{'val loss':>10}")
        for name, lines in runs.items():
            # The first epoch of each size compiles.
            usual = float(np.median([line["seconds"] for line in lines[1:]]))
            print(f"{name:<14}{usual:>9.1f}{lines[-1]['val_accuracy']:>14.4f}{lines[-1]['val_loss']:>10.4f}")
        print(f"binomial {binomial:.4f}, seeds {seeds:.4f}: two runs may differ by {noise:.4f}")
    assert accuracies.min() > 1.3 / len(LABELS), "nothing was learned, so nothing is compared"
    assert max(abs(a - b) for a in accuracies for b in accuracies) < noise


@pytest.mark.parametrize("first", ["tensorflow", "jax"])
def test_from_one_checkpoint_all_backends_go_on_alike(first: str, data: Path, tmp_path: Path) -> None:
    """Weights, optimizer, images and, without dropout, steps are equal, so that only rounding differs."""
    recipe = RECIPE.replace("dropout = 0.1", "dropout = 0.0").replace(f"epochs = {EPOCHS}", "epochs = 2")
    recipe = recipe.replace("cooldown_epochs = 2", "cooldown_epochs = 1").replace(
        "size_changes = [2]", "size_changes = [1]"
    )
    stopped = tmp_path / "stopped"
    wanted = train(first, data, stopped, recipe)[1]
    cut_back(stopped, 1)
    for second in BACKENDS:
        run = tmp_path / second
        shutil.copytree(stopped, run)
        line = train(second, data, run, recipe, "--resume")[1]
        # PyTorch's BatchNorm collects the unbiased variance, which affects the validation but not the weights.
        for name, tolerance in (("loss", 0.01), ("val_loss", 0.05)):
            assert line[name] == pytest.approx(wanted[name], rel=tolerance), (first, second, name)


LOGITS = """
import sys
import numpy as np
from pathlib import Path
from fer_train.networks.model_files import load_model, predict_logits
images = np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8)
np.save(sys.argv[2], predict_logits(load_model(Path(sys.argv[1])), images))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_its_model_converts_under_tensorflow(
    backend: str,
    runs: dict[str, list[dict[str, Any]]],
    data: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = folder_of(tmp_path_factory, backend)
    answers = []
    for asked in (backend, "tensorflow"):
        monkeypatch.setenv("KERAS_BACKEND", asked)
        subprocess.run([sys.executable, "-c", LOGITS, run / MODEL, tmp_path / f"{asked}.npy"], check=True)
        answers.append(np.load(tmp_path / f"{asked}.npy"))
    # float32 through about ten layers, which add in different orders.
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-4 * float(np.abs(answers[1]).max()))
    monkeypatch.delenv("KERAS_BACKEND")
    (tmp_path / "gate.toml").write_text(GATE)
    options = ("--variants", "int8", "--gate", tmp_path / "gate.toml", "--out", tmp_path / "bundle")
    done = fer_edge("convert", run, *options, data=data)
    assert done.returncode == 0, done.stderr
    told = max(line["val_accuracy"] for line in runs[backend])
    assert list(load_bundle(tmp_path / "bundle").manifest.variants["int8"].accuracy.values()) == pytest.approx(
        [told], abs=0.04
    )
