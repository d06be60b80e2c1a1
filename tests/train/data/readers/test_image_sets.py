"""Other data than FER2013: class folders of any kind, with classes mapped by a table, split, cropped and merged."""

from __future__ import annotations

import re
import shutil
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import ConfigError, InputError
from fer_edge.images.files import read_gray
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.settings.base import decode, to_table
from fer_edge.settings.toml_files import dump_toml
from fer_edge.stages.crop import crop_face
from fer_edge.stills import StillFaceFinder
from fer_edge.types import CropSpec
from fer_train.data.dataset import Dataset, leak_free_training, load_data, load_dataset
from fer_train.data.readers.class_names import match_classes
from fer_train.data.sets import load_sets
from fer_train.recipe.data import SKIP, DataSettings, SetSettings
from fer_train.recipe.recipe import Recipe, load_recipe
from support.data.fer2013 import mini_images, write_mini_fer2013
from support.data.image_sets import CLASSES, FOLDERS, THREE, recipe_text, write_image_set
from support.environments.fresh_install import CHECKOUT
from support.processes import fork
from support.training.mini_run import RECIPE, assert_refused, fer_edge


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_set(tmp_path_factory.mktemp("sets") / "faces", FOLDERS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def data(path: Path, labels: tuple[str, ...] = THREE, **settings: object) -> DataSettings:
    table = {"path": str(path), "classes": CLASSES, **settings}
    return decode(DataSettings, {"labels": labels, "sets": [table]}, "test")


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
    # The middle of the wide ones is used, without distortion: a class's mean shows only its own grating.
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
    assert tomllib.loads(told[0]) == {"classes": CLASSES}  # misspelt names are guessed
    recipe.write_text(recipe.read_text() + told[0] + "\n")
    assert load_dataset(recipe, cache=False).labels == THREE


def test_a_folder_alone_goes_by_the_usual_names(tmp_path: Path) -> None:
    root = write_image_set(tmp_path / "my faces", {"HAPPINESS": "happy", "sad": "sad"}, count=3)
    dataset = load_dataset(root)
    assert dataset.labels == FER2013_LABELS
    assert {FER2013_LABELS[label] for split in dataset.splits.values() for label in split.labels} == {"happy", "sad"}
    assert dataset.name == "my_faces"


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8).map(
    lambda name: unicodedata.normalize("NFC", name)  # names that differ only in this are equal
)


@given(
    classes=st.dictionaries(names, st.sampled_from((*THREE, SKIP))),
    found=st.sets(names, min_size=1, max_size=5),
)
def test_every_class_is_told_or_refused_by_name(classes: dict[str, str], found: set[str]) -> None:
    settings = DataSettings(labels=THREE, sets=(SetSettings(path="faces", classes=classes),))
    table = tomllib.loads(dump_toml(to_table(Recipe(data=settings))))
    assert decode(Recipe, table, "test").data == settings
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
        ("labels = ['happy']", ["data", "data.labels must be a list of 2 to 100 values, not "]),
        ("labels = ['happy', 'happy']", ["differ"]),
        ("labels = ['happy', 'skip']", ["skip"]),
        ("labels = ['happy', '../sad']", ["letters"]),
        ("size = 8", ["size"]),
        ("size = 64", ["data.size is 64", "loop.sizes ends with 48"]),
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


def test_the_recipe_in_the_readme_is_one() -> None:
    text = (CHECKOUT / "docs/how-to/data.md").read_text()
    tables = re.findall(r"^```toml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (table,) = (table for table in tables if table.startswith("[data]"))
    recipe = decode(Recipe, tomllib.loads(table), "README.md")
    assert recipe.data.sets[0].classes == {**CLASSES, "contempt": SKIP}


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
        # The same picture in another file format is in the same split.
        cv2.imwrite(str(path.with_name(f"copy-{path.stem}.bmp")), cv2.imread(str(path.with_name(f"z{path.name}")), -1))
    again = read(renamed)
    assert set(whole(again)) == set(whole(dataset))
    assert sum(sizes(again).values()) == 36 + 6
    assert len(leak_free_training(again)) == sizes(again)["Training"]
    large = read(faces, validation=0.5, test=0.0)
    assert sizes(large)["PrivateTest"] == 0
    assert 8 <= sizes(large)["PublicTest"] <= 28
    # With larger test shares, test images stay test images: none moves back into Training.
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
    # Without a folder for validation, the test folder is used for it: PrivateTest is never filled by a guess.
    shutil.rmtree(tmp_path / "all" / "valid")
    assert sizes(read(tmp_path / "all", labels, classes={})) == {"Training": 8, "PublicTest": 4, "PrivateTest": 0}
    shutil.rmtree(tmp_path / "all" / "TEST")
    with pytest.raises(InputError, match='split = "given"'):
        read(tmp_path / "all", labels, classes={}, split="given")
    assert sum(sizes(read(tmp_path / "all", labels, classes={})).values()) == 8


# Faces -------------------------------------------------------------------------------------------------------------


def test_larger_pictures_go_through_the_devices_detector_and_crop(tmp_path: Path) -> None:
    asset = CHECKOUT / "edge/fer_edge/assets/astronaut.jpg"
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
    # The cache records that some were skipped: without the option they are refused again.
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
    with pytest.raises(InputError, match=r"classes that are not labels: disgust, fear, neutral, sad"):
        read(csv, classes={})


def test_one_class_only_is_not_trained(tmp_path: Path) -> None:
    root = write_image_set(tmp_path / "set", {"happy": "happy"}, count=20)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE + recipe_text(root, ("happy", "sad"), {}))
    refused = fork.fer_edge("train", "--config", recipe, "--out", tmp_path / "run")
    assert_refused(refused, 2, "all train images are of one class, happy")
    assert "no train image of sad" in refused.stderr
