"""Several sets as one, with weights; FER+'s votes as labels; from other data to a measured bundle."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.model.labels import FER2013_LABELS
from fer_edge.settings.base import decode
from fer_train.backend import load_keras
from fer_train.data.dataset import Dataset, leak_free_training, load_data
from fer_train.data.ferplus import label_votes, load_votes, majority_labels
from fer_train.data.sets import load_sets
from fer_train.recipe.data import SKIP, DataSettings
from fer_train.recipe.recipe import Recipe, load_recipe
from support.data.caches import users_cache
from support.data.fer2013 import real_fer2013, write_mini_fer2013
from support.data.image_sets import CLASSES, FOLDERS, THREE, recipe_text, write_image_set
from support.processes import fork
from support.training.mini_run import RECIPE, MiniRun, assert_refused, fer_edge


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def parsed(labels: tuple[str, ...], *sets: dict[str, object]) -> DataSettings:
    return decode(DataSettings, {"labels": labels, "sets": sets}, "test")


def sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def test_sets_are_merged_each_with_its_weight(tmp_path: Path) -> None:
    faces = write_image_set(tmp_path / "faces", FOLDERS)
    csv = write_mini_fer2013(tmp_path / "fer2013.csv", per_class=4, test_per_class=2)
    left_out = dict.fromkeys(("disgust", "fear", "sad", "neutral"), SKIP)
    sets = [{"classes": left_out, "weight": 2}, {"path": str(faces), "classes": CLASSES, "split": "training"}]
    settings = parsed(THREE, *sets)
    dataset = load_data(settings, csv)
    assert sizes(dataset) == {"Training": 12 + 36, "PublicTest": 6, "PrivateTest": 6}
    assert dataset.name == "other_fer2013_relabelled_and_faces"
    training = dataset.splits["Training"]
    assert training.weights is not None
    assert training.weights.tolist() == [2.0] * 12 + [1.0] * 36
    assert load_data(settings, csv).rows_sha256 == dataset.rows_sha256
    # In the loss, their mean over an epoch is 1, so that the learning rate has the same effect.
    load_keras()
    from fer_train.training.inputs.batches import TrainingBatches, TrainingSet  # imports Keras

    batches = TrainingBatches(
        TrainingSet(training.images, training.labels, training.distributions(3), training.weights), Recipe(), 0
    )
    weights = np.concatenate([batches[step][2] for step in range(len(batches))])
    assert weights.mean() == pytest.approx(1, rel=1e-5)
    assert sorted(set(weights.round(4).tolist())) == pytest.approx([0.8, 1.6], rel=1e-3)


def test_images_of_one_set_that_another_tests_on_are_not_trained_on(tmp_path: Path) -> None:
    kinds = {"angry": "angry", "happy": "happy"}
    one = write_image_set(tmp_path / "one", kinds, count=6)
    shutil.copytree(one, tmp_path / "two/test")
    write_image_set(tmp_path / "two/train", kinds, count=5, seed=300)
    sets = [{"path": str(one), "split": "training"}, {"path": str(tmp_path / "two")}]
    dataset = load_data(parsed(("angry", "happy"), *sets))
    assert sizes(dataset)["Training"] == 12 + 10
    assert len(leak_free_training(dataset)) == 10


def test_a_cached_set_is_read_anew_when_it_or_its_settings_change(tmp_path: Path) -> None:
    root = write_image_set(tmp_path / "set", {"angry": "angry", "happy": "happy"}, count=3)
    settings = parsed(("angry", "happy"), {"path": str(root)})
    first = load_sets(settings)
    assert load_sets(settings).rows_sha256 == first.rows_sha256
    assert list((tmp_path / "cache").rglob("*.npz"))
    assert load_sets(parsed(("happy", "angry"), {"path": str(root)})).labels == ("happy", "angry")
    assert load_sets(settings).rows_sha256 == first.rows_sha256
    newest = next((root / "happy").iterdir())
    os.utime(newest, (1, 1))
    newest.with_name("new.png").write_bytes((root / "angry" / "001.png").read_bytes())
    assert sum(sizes(load_sets(settings)).values()) == 7


@given(st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=6), st.booleans())
def test_votes_are_told_in_labels_and_none_gets_lost(rows: list[list[int]], contempt_is_disgust: bool) -> None:
    votes = np.array(rows, np.float32)
    of_word = {label: index for index, label in enumerate(FER2013_LABELS)}
    of_word["contempt"] = 1 if contempt_is_disgust else -1
    counts, others = label_votes(votes, of_word, 7)
    np.testing.assert_allclose(counts.sum(axis=1) + others.sum(axis=1), votes.sum(axis=1))
    disgust, contempt = votes[:, 5], votes[:, 7]
    np.testing.assert_allclose(counts[:, 1], disgust + contempt if contempt_is_disgust else disgust)
    assert others.shape[1] == (2 if contempt_is_disgust else 3)


def test_ferplus_can_name_the_labels_of_training() -> None:
    dataset = real_fer2013()
    with users_cache():
        found = {votes: load_sets(parsed(FER2013_LABELS, {"votes": votes})) for votes in ("majority", "soft")}
        votes = load_votes(dataset)["Training"]
    majority = majority_labels(votes, FER2013_LABELS)
    np.testing.assert_array_equal(found["majority"].splits["Training"].labels, majority[majority >= 0])
    soft = found["soft"].splits["Training"]
    assert soft.shares is not None
    np.testing.assert_allclose(soft.shares.sum(axis=1), 1, atol=1e-5)
    # Contempt, unknown and NF: an image is left out if they have more than half of the votes.
    assert len(soft) == int((votes[:, 7:].sum(axis=1) <= votes[:, :7].sum(axis=1)).sum())
    for each in found.values():
        assert each.splits["PublicTest"].labels.tolist() == dataset.splits["PublicTest"].labels.tolist()
        assert not each.is_known_fer2013
    assert found["soft"].name == "fer2013_soft"


@pytest.mark.slow
def test_a_model_of_three_classes_is_trained_converted_and_measured(mini_run: MiniRun, tmp_path: Path) -> None:
    """Two sets, one with half the weight; its file maps numbers to labels."""
    root = write_image_set(tmp_path / "faces", FOLDERS, count=40)
    more = write_image_set(tmp_path / "more", FOLDERS, count=6, seed=400)
    recipe = tmp_path / "three.toml"
    text = RECIPE.replace("epochs = 3", "epochs = 3\nseed = 2") + recipe_text(root, THREE, CLASSES)
    table = text.partition("[[data.sets]]")[2]
    second = table.replace(str(root), str(more)) + 'weight = 0.5\nsplit = "training"\n'
    recipe.write_text(f"{text}[[data.sets]]{second}")
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    trained = fork.fer_edge("train", "--config", recipe, "--out", run)
    assert trained.returncode == 0, trained.stderr
    assert load_recipe(run / "config.toml") == load_recipe(recipe)
    converted = fork.fer_edge("convert", run, "--data", recipe, "--out", bundle, "--variants", "int8")
    assert converted.returncode == 0, converted.stderr
    made_of = json.loads((bundle / "manifest.json").read_text())["training"]
    assert made_of["dataset"]["name"] == "faces_and_more"
    assert [(each["path"], each["weight"]) for each in made_of["config"]["data"]["sets"]] == [
        (str(root), 1.0),
        (str(more), 0.5),
    ]
    measured = fork.fer_edge("evaluate", bundle, "--data", run / "config.toml", "--json")
    assert measured.returncode == 0, measured.stderr
    assert '"label": "surprise"' in measured.stdout
    recipe.write_text(recipe.read_text().replace(str(list(THREE)), str(list(reversed(THREE)))))
    other_order = fork.fer_edge("evaluate", run / "model.keras", "--data", recipe, "--json")
    assert other_order.returncode == 0, other_order.stderr
    accuracy = json.loads((run / "run.json").read_text())["validation_accuracy"]
    assert json.loads(other_order.stdout)["accuracy"] == pytest.approx(accuracy)
    refused = fer_edge("evaluate", bundle, "--data", mini_run.data)
    assert_refused(refused, 2, "(angry, happy, surprise)", "are not the data set's", "data.labels")
