"""The loss whose logits are adjusted by label: its minimum, an unknown label, and a run that is continued."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.processes import fork
from support.training.mini_run import RECIPE, MiniRun, assert_refused

LABELS = 7
finite = st.lists(st.floats(-3, 3), min_size=LABELS, max_size=LABELS).map(lambda values: np.array(values, np.float32))


@settings(deadline=None, max_examples=25)
@given(logits=finite, adjustments=finite)
def test_the_loss_is_least_where_logits_exceed_log_probabilities_by_the_adjustments(
    logits: np.ndarray, adjustments: np.ndarray
) -> None:
    from fer_train.training.loss import AdjustedCrossentropy

    probabilities = np.exp(logits) / np.exp(logits).sum()
    best = np.log(probabilities) + adjustments
    loss = AdjustedCrossentropy(adjustments.tolist())

    def at(seen: np.ndarray) -> float:
        return float(np.asarray(loss(probabilities[np.newaxis], seen[np.newaxis])))

    entropy = -(probabilities * np.log(probabilities)).sum()
    assert at(best) == pytest.approx(entropy, abs=1e-4)
    for label in range(LABELS):
        for change in (-0.5, 0.5):
            assert at(best + change * np.eye(LABELS, dtype=np.float32)[label]) > entropy - 1e-5


def test_a_label_that_the_data_set_lacks_is_refused(mini_run: MiniRun, tmp_path: Path) -> None:
    recipe = tmp_path / "fear.toml"
    recipe.write_text(RECIPE + "logit_adjustments = { feer = 0.2 }\n", encoding="utf-8")
    refused = fork.fer_edge("train", "--recipe", recipe, "--out", tmp_path / "run", data=mini_run.data)
    assert_refused(refused, 2, "loop.logit_adjustments", "'feer'", "angry", "fear")
    assert not (tmp_path / "run").exists()


def test_an_adjusted_run_is_continued_and_chooses_its_label_more_often(mini_run: MiniRun, tmp_path: Path) -> None:
    recipe, run, longer = tmp_path / "fear.toml", tmp_path / "run", tmp_path / "longer"
    # One size of images: TensorFlow compiles a step for each, which takes longer than the epochs.
    adjusted = RECIPE.partition("sizes =")[0] + "cooldown_epochs = 1\nlogit_adjustments = { fear = 9.0 }\n"
    recipe.write_text(adjusted, encoding="utf-8")
    done = fork.fer_edge("train", "--recipe", recipe, "--out", run, data=mini_run.data)
    assert done.returncode == 0, done.stderr
    # The longer run starts from the shorter one's checkpoint, which contains this loss.
    recipe.write_text(adjusted.replace("epochs = 3", "epochs = 4"), encoding="utf-8")
    done = fork.fer_edge("train", "--recipe", recipe, "--out", longer, "--from", run, data=mini_run.data)
    assert done.returncode == 0, done.stderr
    assert _share_of_fear(longer, mini_run.data) > 0.9


def _share_of_fear(run: Path, data: Path) -> float:
    import keras

    from fer_train.data.dataset import load_dataset
    from fer_train.networks.model_files import predict_logits

    dataset = load_dataset(data, cache=False)
    model = keras.models.load_model(run / "model.keras", compile=False)
    logits = predict_logits(model, dataset.splits["PublicTest"].images)
    return float((logits.argmax(axis=1) == dataset.labels.index("fear")).mean())
