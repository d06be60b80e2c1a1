"""RAF-DB and AffectNet in miniature, in their published layouts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import InputError
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.settings.base import decode
from fer_train.data.dataset import PRIVATE_TEST, PUBLIC_TEST, TRAINING, Dataset, load_dataset
from fer_train.data.sets import load_sets
from fer_train.recipe.data import DataSettings
from fer_train.recipe.recipe import load_recipe
from support.data.fer2013 import LABELS, mini_images
from support.environments.fresh_install import CHECKOUT
from support.training.mini_run import assert_refused, fer_edge

RAF_DB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path: Path, label: str, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = LABELS.index(label) if label in LABELS else LABELS.index("disgust")
    image = mini_images([number], seed=seed, side=100)[0]
    assert cv2.imwrite(str(path), np.dstack([image] * 3))
    return path


def raf_db(root: Path, count: int = 8) -> Path:
    """As published: a list, and aligned images."""
    lines, seed = [], 0
    for part, each in (("train", count), ("test", 2)):
        for number, label in enumerate(RAF_DB, 1):
            for _ in range(each):
                seed += 1
                write(root / "basic" / "Image" / "aligned" / f"{part}_{seed:05}_aligned.jpg", label, seed)
                lines.append(f"{part}_{seed:05}.jpg {number}")
    listed = root / "basic" / "EmoLabel" / "list_patition_label.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("\n".join(lines) + "\n")
    return root


def affectnet_annotations(root: Path, count: int = 2) -> Path:
    seed = 0
    for part in ("train_set", "val_set"):
        for number, label in enumerate((*AFFECTNET, "no face")):
            for _ in range(count):
                seed += 1
                write(root / part / "images" / f"{seed}.jpg", label, seed)
                note = root / part / "annotations" / f"{seed}_exp.npy"
                note.parent.mkdir(exist_ok=True)
                np.save(note, np.array(str(number if number < 8 else 10)))  # text, as published
    return root


def affectnet_tables(root: Path) -> Path:
    columns = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    for part, first in (("training", 0), ("validation", 50)):
        lines = [columns]
        for number, label in enumerate((*AFFECTNET, "none")):
            name = f"{first + number}/{first + number}.jpg"
            write(root / "Manually_Annotated_Images" / name, label, first + number)
            lines.append(f"{name},1,1,98,98,1;2;3,{number},0.1,0.2")
        (root / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return root


def numbered_folders(root: Path, parts: tuple[str, ...], names: tuple[str, ...], first: int) -> Path:
    for at, part in enumerate(parts):
        for number, label in enumerate(names, first):
            for index in range(3):
                write(root / part / str(number) / f"{index}.jpg", label, 1000 * at + 10 * number + index)
    return root


def read(path: Path, layout: str, labels: tuple[str, ...] = FER2013_LABELS, **settings: object) -> Dataset:
    table = {"path": str(path), "layout": layout, **settings}
    return load_sets(decode(DataSettings, {"labels": labels, "sets": [table]}, "test"), cache=False)


def counted(dataset: Dataset, split: str) -> dict[str, int]:
    return dict(Counter(dataset.labels[label] for label in dataset.splits[split].labels))


def assert_right_images(dataset: Dataset) -> None:
    """Each image looks like its label: the gratings differ by class."""
    for split in dataset.splits.values():
        for image, label in zip(split.images, split.labels, strict=True):
            known = mini_images(np.arange(7), side=48).reshape(7, -1).astype(float)
            found = [np.corrcoef(image.ravel(), other)[0, 1] for other in known]
            assert int(np.argmax(found)) == label


def test_raf_dbs_list_of_classes_keeps_its_test_split_and_draws_a_validation_split(tmp_path: Path) -> None:
    dataset = read(raf_db(tmp_path / "raf-db"), "raf-db", validation=0.3)
    assert counted(dataset, PRIVATE_TEST) == dict.fromkeys(RAF_DB, 2)
    trained, validated = len(dataset.splits[TRAINING]), len(dataset.splits[PUBLIC_TEST])
    assert trained + validated == 7 * 8
    assert 5 <= validated <= 28
    assert dataset.split_names == ("train", "validation", "test")
    assert_right_images(dataset)


def test_raf_db_is_found_from_its_inner_folder_and_in_numbered_folders(tmp_path: Path) -> None:
    whole = raf_db(tmp_path / "raf-db")
    assert read(whole / "basic", "raf-db").rows_sha256 == read(whole, "raf-db").rows_sha256
    folders = numbered_folders(tmp_path / "copy", ("train", "test"), RAF_DB, 1)
    dataset = read(folders, "raf-db", validation=0.3)
    assert counted(dataset, PRIVATE_TEST) == dict.fromkeys(RAF_DB, 3)
    assert len(dataset.splits[TRAINING]) + len(dataset.splits[PUBLIC_TEST]) == 21
    assert_right_images(dataset)


@pytest.mark.parametrize("form", ["annotations", "tables", "folders"])
def test_affectnet_leaves_contempt_out_unless_it_is_mapped(form: str, tmp_path: Path) -> None:
    root, seven = tmp_path / "affectnet", set(FER2013_LABELS)
    if form == "folders":
        numbered_folders(root, ("train", "val"), AFFECTNET, 0)
    else:
        {"annotations": affectnet_annotations, "tables": affectnet_tables}[form](root)
    dataset = read(root, "affectnet")
    each = {"annotations": 2, "tables": 1, "folders": 3}[form]
    for split in (TRAINING, PUBLIC_TEST):
        assert counted(dataset, split) == dict.fromkeys(seven, each)
    assert not len(dataset.splits[PRIVATE_TEST])
    assert_right_images(dataset)
    mapped = read(root, "affectnet", classes={"contempt": "disgust"})
    assert counted(mapped, TRAINING)["disgust"] == 2 * each
    eight = read(root, "affectnet", (*FER2013_LABELS, "contempt"))
    assert counted(eight, TRAINING)["contempt"] == each


def test_changed_classes_are_read_again_although_the_images_are_the_same(tmp_path: Path) -> None:
    root = affectnet_annotations(tmp_path / "affectnet")
    settings = decode(DataSettings, {"sets": [{"path": str(root), "layout": "affectnet"}]}, "test")
    before = counted(load_sets(settings), TRAINING)
    np.save(root / "train_set" / "annotations" / "1_exp.npy", np.array("1"))
    after = counted(load_sets(settings), TRAINING)
    assert (after["happy"], after["neutral"]) == (before["happy"] + 1, before["neutral"] - 1)


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"not laid out as RAF-DB.*give the folder that contains basic"):
        read(tmp_path / "empty", "raf-db")
    with pytest.raises(InputError, match="not laid out as AffectNet"):
        read(tmp_path / "empty", "affectnet")
    root = raf_db(tmp_path / "raf-db", count=1)
    listed = root / "basic" / "EmoLabel" / "list_patition_label.txt"
    good = listed.read_text()
    listed.write_text(good + "train_00001.jpg 8\n")
    with pytest.raises(InputError, match=r"list_patition_label.txt:22: '8' is not a class of RAF-DB, which are 1 to 7"):
        read(root, "raf-db")
    listed.write_text(good + "train_99999.jpg 3\n")
    with pytest.raises(InputError, match=r"train_99999_aligned.jpg is missing; unpack"):
        read(root, "raf-db")
    affectnet = affectnet_tables(tmp_path / "affectnet")
    table = affectnet / "training.csv"
    table.write_text(table.read_text() + "../../etc/passwd,1,1,1,1,1,1,0,0\n")
    with pytest.raises(InputError, match=r"training.csv:11: \.\./\.\./etc/passwd is not a path below"):
        read(affectnet, "affectnet")
    table.write_text("path,label\n")
    with pytest.raises(InputError, match="has no column expression, subDirectory_filePath"):
        read(affectnet, "affectnet")


@pytest.mark.parametrize(("name", "make"), [("raf-db", raf_db), ("affectnet", affectnet_annotations)])
def test_the_recipe_reads_what_lies_where_it_says(name: str, make: object, tmp_path: Path) -> None:
    recipe = CHECKOUT / "train" / "configs" / f"{name}.toml"
    assert load_recipe(recipe).name == name
    refused = fer_edge("data", "audit", recipe, cwd=tmp_path)
    assert_refused(refused, 2, f"data/{name}", "no such file or folder")
    assert callable(make)
    make(tmp_path / "data" / name)
    shown = fer_edge("data", "audit", recipe, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    heading = shown.stdout.splitlines()[3].split()
    assert heading[:3] == ["train", "validation", "test"]


def test_a_csv_has_no_such_layout(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[[data.sets]]\nlayout = "raf-db"\n')
    with pytest.raises(InputError, match='layout = "raf-db" is for a folder'):
        load_dataset(recipe)
