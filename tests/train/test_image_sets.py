"""Other data than FER2013: class folders of any kind, their classes told by a table, split, cropped and merged."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import strict_toml
from fer_edge.crop import CropSpec, crop_face
from fer_edge.errors import ConfigError, InputError
from fer_edge.image_files import read_gray
from fer_edge.labels import FER2013_LABELS
from fer_edge.stills import StillFaceFinder
from fer_train.batches import TrainingBatches, TrainingSet
from fer_train.config import Recipe, load_recipe
from fer_train.data_config import SKIP, DataSettings, SetSettings
from fer_train.dataset import Dataset, leak_free_training, load_data, load_dataset
from fer_train.ferplus import label_votes, load_votes, majority_labels
from fer_train.readers.class_names import match_classes
from fer_train.sets import load_sets
from support import warm
from support.caches import users_cache
from support.fer2013 import mini_images, real_fer2013, write_mini_fer2013
from support.image_sets import recipe_text, write_image_set
from support.road import RECIPE, MiniRoad, assert_refused, fer_edge

THREE = ("angry", "happy", "surprise")
FOLDERS = {"Angry": "angry", "Happy Face": "happy", "Suprise": "surprise"}
CLASSES = {"Happy Face": "happy", "Suprise": "surprise"}
"""What of ``FOLDERS`` has to be told; capitals do not matter."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_set(tmp_path_factory.mktemp("sets") / "faces", FOLDERS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def data(path: Path, labels: tuple[str, ...] = THREE, **settings: object) -> DataSettings:
    table = {"path": str(path), "classes": CLASSES, **settings}
    return strict_toml.parse(DataSettings, {"labels": labels, "sets": [table]}, "test")


def read(path: Path, labels: tuple[str, ...] = THREE, *, skip_bad: bool = False, **settings: object) -> Dataset:
    return load_sets(data(path, labels, **settings), skip_bad=skip_bad, cache=False)


def sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def whole(dataset: Dataset) -> Iterator[tuple[str, bytes]]:
    for name, split in dataset.splits.items():
        for image in split.images:
            yield name, image.tobytes()


# Classes -----------------------------------------------------------------------------------------------------------


def test_images_of_any_kind_and_size_become_one_data_set_in_the_recipes_labels(faces: Path) -> None:
    dataset = read(faces)
    assert dataset.labels == THREE
    assert dataset.image_size == (48, 48)
    assert sum(sizes(dataset).values()) == 36
    assert dataset.name == "faces"
    labels = np.concatenate([split.labels for split in dataset.splits.values()])
    assert np.bincount(labels).tolist() == [12, 12, 12]
    # The middle of the wide ones, so that nothing is squeezed: a class's mean has its own grating and no other.
    training = dataset.splits["Training"]
    for label, name in enumerate(THREE):
        mean = training.images[training.labels == label].mean(axis=0).ravel()
        clean = [mini_images([n], seed=7)[0].astype(float).ravel() for n in range(len(FER2013_LABELS))]
        likeness = [np.corrcoef(mean, other)[0, 1] for other in clean]
        assert FER2013_LABELS[int(np.argmax(likeness))] == name


def test_what_an_unknown_class_is_told_to_write_works(faces: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"[data]\nlabels = ['angry', 'happy', 'surprise']\n[[data.sets]]\npath = '{faces}'\n")
    refused = fer_edge("data", "audit", recipe)
    assert_refused(refused, 2, str(faces), "Happy Face, Suprise", "[[data.sets]]")
    told = re.search(r"classes = \{.*?\}", refused.stderr)
    assert told is not None
    assert tomllib.loads(told[0]) == {"classes": CLASSES}  # what is misspelt is guessed
    recipe.write_text(recipe.read_text() + told[0] + "\n")
    assert load_dataset(recipe, cache=False).labels == THREE


def test_a_folder_alone_goes_by_the_usual_names(tmp_path: Path) -> None:
    root = write_image_set(tmp_path / "my faces", {"HAPPINESS": "happy", "sad": "sad"}, count=3)
    dataset = load_dataset(root)
    assert dataset.labels == FER2013_LABELS
    assert {FER2013_LABELS[label] for split in dataset.splits.values() for label in split.labels} == {"happy", "sad"}
    assert dataset.name == "my_faces"


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(
    classes=st.dictionaries(names, st.sampled_from((*THREE, SKIP))),
    found=st.sets(names, min_size=1, max_size=5),
)
def test_every_class_is_told_or_refused_by_name(classes: dict[str, str], found: set[str]) -> None:
    settings = DataSettings(labels=THREE, sets=(SetSettings(path="faces", classes=classes),))
    table = tomllib.loads(strict_toml.dump(strict_toml.to_table(Recipe(data=settings))))
    assert strict_toml.parse(Recipe, table, "test").data == settings
    try:
        matched = match_classes(found, classes, THREE, "faces")
    except InputError as error:
        known = {*THREE, "anger", "happiness", "surprised"}
        odd = set(classes) - found or {name for name in found - set(classes) if name.lower() not in known}
        assert odd
        assert all(name in str(error) for name in odd)
        return
    assert set(matched) == found
    for name, label in classes.items():
        assert matched[name] == (None if label == SKIP else THREE.index(label))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("labels = ['happy']", ["data", "2 classes"]),
        ("labels = ['happy', 'happy']", ["differ"]),
        ("labels = ['happy', 'skip']", ["skip"]),
        ("size = 8", ["size"]),
        ("sets = [{ classes = { a = 'glad' } }]", ["sets[0].classes", "'glad'", "allowed: angry"]),
        ("sets = [{ weight = 0 }]", ["data.sets[0]", "weight"]),
        ("sets = [{ path = 'a' }, { path = 'a' }]", ["different paths"]),
        ("sets = [{ validation = 0.6, test = 0.4 }]", ["leave something"]),
        ("sets = [{ mapping = {} }]", ["unknown key data.sets[0].mapping", "classes"]),
        ("sets = [{ split = 'random' }]", ["data.sets[0].split", "'hash'"]),
        ("sets = 'faces'", ["data.sets", "list"]),
    ],
)
def test_wrong_settings_are_refused_by_their_key(lines: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"[data]\n{lines}\n")
    with pytest.raises(ConfigError) as refused:
        load_recipe(path)
    for word in words:
        assert word in str(refused.value)


def test_classes_that_are_not_there_are_told(faces: Path) -> None:
    with pytest.raises(InputError, match="names Suprised, which it does not have; its classes are Angry, Happy Face"):
        read(faces, classes={**CLASSES, "Suprised": "surprise"})


def test_a_class_can_be_left_out_even_an_empty_one(faces: Path, tmp_path: Path) -> None:
    root = shutil.copytree(faces, tmp_path / "faces")
    (root / "contempt").mkdir()
    (root / "contempt" / "about.txt").touch()
    with pytest.raises(InputError, match=r"contempt: an empty class folder"):
        read(root, classes={**CLASSES, "contempt": "angry"})
    dataset = read(root, ("angry", "happy"), classes={**CLASSES, "Suprise": SKIP, "contempt": SKIP})
    assert sum(sizes(dataset).values()) == 24
    with pytest.raises(InputError, match="all of its classes are left out"):
        read(root, classes=dict.fromkeys((*FOLDERS, "contempt"), SKIP))


# Splits ------------------------------------------------------------------------------------------------------------


def test_a_split_by_hash_depends_on_the_pixels_alone(faces: Path, tmp_path: Path) -> None:
    dataset = read(faces)
    assert all(count > 0 for count in sizes(dataset).values())
    renamed = shutil.copytree(faces, tmp_path / "renamed")
    for path in sorted(renamed.rglob("*.png")):
        path.rename(path.with_name(f"z{path.name}"))
        # The same picture, packed otherwise: it goes where the first one went.
        cv2.imwrite(str(path.with_name(f"copy-{path.stem}.bmp")), cv2.imread(str(path.with_name(f"z{path.name}")), -1))
    again = read(renamed)
    assert set(whole(again)) == set(whole(dataset))
    assert sum(sizes(again).values()) == 36 + 6
    assert len(leak_free_training(again)) == sizes(again)["Training"]
    large = read(faces, validation=0.5, test=0.0)
    assert sizes(large)["PrivateTest"] == 0
    assert 8 <= sizes(large)["PublicTest"] <= 28
    # What was tested on stays so when more is: nothing moves back into Training.
    assert {pixels for name, pixels in whole(dataset) if name == "PrivateTest"} <= {
        pixels for name, pixels in whole(large) if name == "PublicTest"
    }


def test_folders_that_say_a_split_are_heeded(tmp_path: Path) -> None:
    kinds = {"angry": "angry", "happy": "happy"}
    labels = ("angry", "happy")
    for number, folder in enumerate(("Train", "valid", "TEST")):
        write_image_set(tmp_path / "all" / folder, kinds, count=4 - number, seed=50 * number)
    dataset = read(tmp_path / "all", labels, classes={})
    assert sizes(dataset) == {"Training": 8, "PublicTest": 6, "PrivateTest": 4}
    assert sizes(read(tmp_path / "all", labels, classes={}, split="training"))["Training"] == 18
    by_hash = sizes(read(tmp_path / "all", labels, classes={}, split="hash", validation=0.0, test=0.0))
    assert by_hash["Training"] == 18
    # Without a folder for validation the tests serve for it: PrivateTest is never filled by a guess.
    shutil.rmtree(tmp_path / "all" / "valid")
    assert sizes(read(tmp_path / "all", labels, classes={})) == {"Training": 8, "PublicTest": 4, "PrivateTest": 0}
    shutil.rmtree(tmp_path / "all" / "TEST")
    with pytest.raises(InputError, match='split = "given"'):
        read(tmp_path / "all", labels, classes={}, split="given")
    assert sum(sizes(read(tmp_path / "all", labels, classes={})).values()) == 8


# Faces -------------------------------------------------------------------------------------------------------------


def test_larger_pictures_go_through_the_devices_detector_and_crop(tmp_path: Path) -> None:
    asset = Path(__file__).parents[2] / "edge/fer_edge/assets/astronaut.jpg"
    for label, name in (("happy", "a"), ("sad", "b")):
        (tmp_path / "set" / label).mkdir(parents=True)
        shutil.copy(asset, tmp_path / "set" / label / f"{name}.jpg")
    flat = np.full((120, 160), 90, np.uint8)
    assert cv2.imwrite(str(tmp_path / "set/sad/flat.png"), flat)
    settings = {"labels": ("happy", "sad"), "classes": {}, "split": "training", "faces": "detect"}
    dataset = read(tmp_path / "set", **settings)
    gray = read_gray(asset)
    largest = max(StillFaceFinder().find(gray), key=lambda face: face.box.area)
    expected = crop_face(gray, largest, CropSpec(48, 48)).pixels
    assert sizes(dataset)["Training"] == 2
    for image in dataset.splits["Training"].images:
        np.testing.assert_array_equal(image, expected)
    assert dataset.skipped_rows == 1
    assert dataset.notes == ("1 of 3 images were left out: no face was found in them",)
    assert sizes(read(tmp_path / "set", no_face="whole", **settings))["Training"] == 3
    with pytest.raises(InputError, match=r"flat\.png: no face is found in it"):
        read(tmp_path / "set", no_face="refuse", **settings)


# Bad input ---------------------------------------------------------------------------------------------------------


def test_a_corrupt_image_among_good_ones_is_named_or_skipped_and_counted(faces: Path, tmp_path: Path) -> None:
    root = shutil.copytree(faces, tmp_path / "faces")
    bad = root / "Angry" / "005.jpeg"
    bad.write_bytes(bad.read_bytes()[:200])
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text(root, THREE, CLASSES))
    assert_refused(fer_edge("data", "audit", recipe), 2, str(bad), "cut short", "skip_bad", "--skip-bad")
    done = fer_edge("data", "audit", recipe, "--skip-bad")
    assert done.returncode == 0
    assert "35 rows" in done.stdout
    assert "1 images that cannot be read were left out: Angry/005.jpeg" in done.stderr
    recipe.write_text(recipe_text(root, THREE, CLASSES, "skip_bad = true"))
    assert load_dataset(recipe).skipped_rows == 1
    # The cache knows that some were left out: without leave they are refused again.
    with pytest.raises(InputError, match=r"005\.jpeg"):
        load_sets(data(root))


def test_what_is_missing_or_does_not_fit_is_one_line(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder; paths of"):
        read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no class folders"):
        read(tmp_path / "empty", classes={})
    with pytest.raises(InputError, match="leave --data out"):
        load_data(data(faces), tmp_path)
    with pytest.raises(InputError, match=r"votes are FER\+'s"):
        read(faces, votes="soft")
    csv = write_mini_fer2013(tmp_path / "fer2013.csv", per_class=2, test_per_class=1)
    with pytest.raises(InputError, match="leave split and faces out"):
        read(csv, FER2013_LABELS, classes={}, faces="detect")
    with pytest.raises(InputError, match=r"classes that are no label: disgust, fear, neutral, sad"):
        read(csv, classes={})


def test_one_class_only_is_not_trained(tmp_path: Path) -> None:
    root = write_image_set(tmp_path / "set", {"happy": "happy"}, count=20)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE + recipe_text(root, ("happy", "sad"), {}))
    refused = warm.fer_edge("train", "--config", recipe, "--out", tmp_path / "run")
    assert_refused(refused, 2, "all Training images are of one class, happy")
    assert "no Training image of sad" in refused.stderr


# Several sets ------------------------------------------------------------------------------------------------------


def test_sets_are_merged_each_with_its_weight(faces: Path, tmp_path: Path) -> None:
    csv = write_mini_fer2013(tmp_path / "fer2013.csv", per_class=4, test_per_class=2)
    left_out = dict.fromkeys(("disgust", "fear", "sad", "neutral"), SKIP)
    sets = [{"classes": left_out, "weight": 2}, {"path": str(faces), "classes": CLASSES, "split": "training"}]
    settings = strict_toml.parse(DataSettings, {"labels": THREE, "sets": sets}, "test")
    dataset = load_data(settings, csv)
    assert sizes(dataset) == {"Training": 12 + 36, "PublicTest": 6, "PrivateTest": 6}
    assert dataset.name == "other_fer2013_relabelled_and_faces"
    training = dataset.splits["Training"]
    assert training.weights is not None
    assert training.weights.tolist() == [2.0] * 12 + [1.0] * 36
    assert load_data(settings, csv).rows_sha256 == dataset.rows_sha256
    # In the loss they mean 1 over an epoch, so that the learning rate keeps its meaning.
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
    dataset = load_data(strict_toml.parse(DataSettings, {"labels": ("angry", "happy"), "sets": sets}, "test"))
    assert sizes(dataset)["Training"] == 12 + 10
    assert len(leak_free_training(dataset)) == 10


def test_a_cached_set_is_read_anew_when_it_or_its_settings_change(tmp_path: Path) -> None:
    root = write_image_set(tmp_path / "set", {"angry": "angry", "happy": "happy"}, count=3)
    settings = data(root, ("angry", "happy"), classes={})
    first = load_sets(settings)
    assert load_sets(settings).rows_sha256 == first.rows_sha256
    assert list((tmp_path / "cache").rglob("*.npz"))
    assert load_sets(data(root, ("happy", "angry"), classes={})).labels == ("happy", "angry")
    assert load_sets(settings).rows_sha256 == first.rows_sha256
    newest = next((root / "happy").iterdir())
    os.utime(newest, (1, 1))
    newest.with_name("new.png").write_bytes((root / "angry" / "001.png").read_bytes())
    assert sum(sizes(load_sets(settings)).values()) == 7


# FER+ --------------------------------------------------------------------------------------------------------------


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
        found = {
            votes: load_sets(strict_toml.parse(DataSettings, {"sets": [{"votes": votes}]}, "test"))
            for votes in ("majority", "soft")
        }
        votes = load_votes(dataset)["Training"]
    majority = majority_labels(votes, FER2013_LABELS)
    np.testing.assert_array_equal(found["majority"].splits["Training"].labels, majority[majority >= 0])
    soft = found["soft"].splits["Training"]
    assert soft.shares is not None
    np.testing.assert_allclose(soft.shares.sum(axis=1), 1, atol=1e-5)
    # Contempt, unknown and NF: an image is left out when they have more than half of the votes.
    assert len(soft) == int((votes[:, 7:].sum(axis=1) <= votes[:, :7].sum(axis=1)).sum())
    for each in found.values():
        assert each.splits["PublicTest"].labels.tolist() == dataset.splits["PublicTest"].labels.tolist()
        assert not each.is_known_fer2013
    assert found["soft"].name == "fer2013_soft"


# The whole road ----------------------------------------------------------------------------------------------------


def test_a_model_of_three_classes_is_trained_converted_and_measured(mini_road: MiniRoad, tmp_path: Path) -> None:
    root = write_image_set(tmp_path / "faces", FOLDERS, count=40)
    recipe = tmp_path / "three.toml"
    recipe.write_text(RECIPE.replace("epochs = 3", "epochs = 3\nseed = 2") + recipe_text(root, THREE, CLASSES))
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    trained = warm.fer_edge("train", "--config", recipe, "--out", run)
    assert trained.returncode == 0, trained.stderr
    assert load_recipe(run / "config.toml") == load_recipe(recipe)
    converted = warm.fer_edge("convert", run, "--data", recipe, "--out", bundle, "--variants", "int8")
    assert converted.returncode == 0, converted.stderr
    measured = warm.fer_edge("evaluate", bundle, "--data", run / "config.toml", "--json")
    assert measured.returncode == 0, measured.stderr
    assert '"label": "surprise"' in measured.stdout
    refused = fer_edge("evaluate", bundle, "--data", mini_road.data)
    assert_refused(refused, 2, "(angry, happy, surprise)", "are not the data set's", "data.labels")
