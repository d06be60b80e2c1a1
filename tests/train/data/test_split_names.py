"""Splits of other data than FER2013 are called train, validation and test; FER2013 keeps its names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.errors import InputError
from fer_edge.settings.base import decode
from fer_train.data.dataset import PRIVATE_TEST, PUBLIC_TEST, SPLIT_NAMES, TRAINING, load_dataset
from fer_train.data.export import export_class_folders
from fer_train.data.sets import load_sets
from fer_train.recipe.data import DataSettings
from fer_train.splits import OWN_SPLIT_NAMES
from support.data.fer2013 import write_mini_fer2013
from support.data.image_sets import CLASSES, FOLDERS, THREE, recipe_text, write_image_set
from support.processes import fork
from support.training.mini_run import RECIPE, assert_refused


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def settings(*sets: dict[str, object], labels: tuple[str, ...] = THREE) -> DataSettings:
    return decode(DataSettings, {"labels": labels, "sets": list(sets)}, "test")


def test_the_names_follow_what_is_tested_on(tmp_path: Path) -> None:
    faces = write_image_set(tmp_path / "faces", FOLDERS)
    fer2013 = write_mini_fer2013(tmp_path / "fer2013.csv")
    assert load_dataset(fer2013).split_names == SPLIT_NAMES
    own = {"path": str(faces), "classes": CLASSES}
    theirs = {"path": str(fer2013), "classes": dict.fromkeys(("disgust", "fear", "sad", "neutral"), "skip")}
    assert load_sets(settings(own)).split_names == OWN_SPLIT_NAMES
    assert load_sets(settings(own)).split_names == OWN_SPLIT_NAMES  # from the cache, too
    assert load_sets(settings(own, theirs)).split_names == OWN_SPLIT_NAMES
    assert load_sets(settings({**own, "split": "training"}, theirs)).split_names == SPLIT_NAMES
    named = load_sets(settings(own))
    assert [named.shown(split) for split in SPLIT_NAMES] == ["train", "validation", "test"]
    assert (named.key(PUBLIC_TEST), load_dataset(fer2013).key(PUBLIC_TEST)) == ("validation", "public_test")
    assert [named.find_split(name) for name in ("Validation", "publictest", "train", "test")] == [
        PUBLIC_TEST,
        PUBLIC_TEST,
        TRAINING,
        PRIVATE_TEST,
    ]
    with pytest.raises(InputError, match="no split 'dev'; its splits are train, validation, test"):
        named.find_split("dev")


def test_an_export_reads_back_the_same_and_an_older_one_still_loads(tmp_path: Path) -> None:
    faces = write_image_set(tmp_path / "faces", {label: label for label in THREE}, count=20)
    dataset = load_sets(settings({"path": str(faces)}))
    export_class_folders(dataset, tmp_path / "crops")
    assert sorted(path.name for path in (tmp_path / "crops").iterdir()) == ["test", "train", "validation"]
    again = load_sets(settings({"path": str(tmp_path / "crops")}))
    assert again.rows_sha256 == dataset.rows_sha256
    assert load_dataset(tmp_path / "crops").split_names == OWN_SPLIT_NAMES
    # As in older exports: two folders, and the split in the file names.
    for split, name in zip(OWN_SPLIT_NAMES, SPLIT_NAMES, strict=True):
        root = "train" if split == "train" else "test"
        for path in sorted((tmp_path / "crops" / split).rglob("*.png")):
            target = tmp_path / "old" / root / path.parent.name / path.name.replace(split, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    old = load_sets(settings({"path": str(tmp_path / "old")}))
    assert old.rows_sha256 == dataset.rows_sha256


@pytest.mark.slow
def test_training_evaluation_and_conversion_use_the_names(tmp_path: Path) -> None:
    faces = write_image_set(tmp_path / "faces", FOLDERS, count=24)
    recipe = tmp_path / "faces.toml"
    data = recipe_text(faces, THREE, CLASSES, "validation = 0.25\n")
    recipe.write_text(RECIPE.replace("epochs = 3", "epochs = 1").replace("[2]", "[1]").replace("[32, 48]", "[32]"))
    recipe.write_text(recipe.read_text().replace("size_changes = [1]\n", "") + data)
    trained = fork.fer_edge("train", "--config", recipe, "--out", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    assert "on validation" in trained.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert 0 <= record["validation_accuracy"] <= 1
    evaluated = fork.fer_edge("evaluate", tmp_path / "run" / "model.keras", "--data", recipe, "--split", "validation")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "on validation" in evaluated.stdout
    refused = fork.fer_edge("evaluate", tmp_path / "run" / "model.keras", "--data", recipe, "--split", "test")
    assert_refused(refused, 2, "is kept for final numbers")
    listed = fork.fer_edge("runs", tmp_path)
    assert "validation" in listed.stdout
    for done in (trained, evaluated, listed):
        assert "PublicTest" not in done.stdout + done.stderr
