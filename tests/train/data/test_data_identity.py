"""The name of a data set, and the report: FER2013, a copy or a part of it, or other data."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.errors import InputError
from fer_train.data.dataset import Dataset, Split, load_dataset
from fer_train.data.export import export_class_folders
from fer_train.data.ferplus import load_votes
from fer_train.data.readers.cache import DecodedCache
from support.data.fer2013 import MiniRow, csv_bytes, mini_rows, real_fer2013, write_csv, write_mini_fer2013

TINY = {"per_class": 2, "test_per_class": 1, "side": 4}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A separate cache folder for this process and the processes that it starts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def real() -> Dataset:
    return real_fer2013()


def audit(path: Path) -> tuple[dict[str, Any], str]:
    """Return the JSON of ``fer-edge data audit`` and its standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge", "data", "audit", str(path), "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


def decoded(path: Path, dataset: Dataset, rows: slice, *, changed: int = 0, shift: int = 0) -> Path:
    """Create a file at ``path`` whose cached rows are ``rows`` of each split of ``dataset``.

    Writing and decoding all of FER2013 would take a minute. ``changed`` Training images differ in one pixel;
    ``shift`` Training rows are moved from the start to the end.
    """
    path.write_bytes(b"decoded already")
    splits = {name: Split(split.images[rows], split.labels[rows]) for name, split in dataset.splits.items()}
    images = np.roll(splits["Training"].images, -shift, axis=0)
    images[:changed, 0, 0] ^= 1
    splits["Training"] = Split(images, np.roll(splits["Training"].labels, -shift))
    DecodedCache(path).save(Dataset("as it was called", dataset.labels, splits, "0" * 64))
    return path


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("faces.csv", "faces"),
        ("My Faces, 2nd try.CSV.XZ", "my_faces_2nd_try"),
        ("icml_face_data.csv.zip", "icml_face_data"),
        ("raf.v2.csv", "raf_v2"),
        ("fer2013.csv", "other_fer2013"),
        ("FER2013.tar.gz", "other_fer2013"),
        ("-fer2013-.csv.gz", "other_fer2013"),
        ("数据.csv", "dataset"),
    ],
)
def test_other_data_goes_by_its_file_name_and_never_as_fer2013(file: str, name: str, tmp_path: Path) -> None:
    assert load_dataset(write_mini_fer2013(tmp_path / file, **TINY), cache=False).name == name


def test_class_folders_go_by_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset(write_mini_fer2013(tmp_path / "fer2013.csv", **TINY), cache=False)
    for folder, name in {"Our faces.csv": "our_faces_csv", "fer2013": "other_fer2013"}.items():
        export_class_folders(dataset, tmp_path / folder)
        assert load_dataset(tmp_path / folder, cache=False).name == name
        monkeypatch.chdir(tmp_path / folder)
        assert load_dataset(Path(), cache=False).name == name


def test_the_audit_tells_other_data_as_such(tmp_path: Path) -> None:
    report, errors = audit(write_mini_fer2013(tmp_path / "fer2013.csv", **TINY))
    assert (report["name"], report["is_known_fer2013"], report["rows_of_fer2013"]) == ("other_fer2013", False, 0)
    assert report["identity"].startswith("other data than FER2013")
    assert report["identity"].endswith("0 of its 28 rows are in the known one")
    assert errors == ""


@pytest.mark.usefixtures("environment")
def test_an_old_cache_does_not_bring_back_an_old_name(tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", **TINY)
    dataset = load_dataset(path)
    DecodedCache(path).save(dataclasses.replace(dataset, name="fer2013"))
    # Same size and time, other content: the rows can only be from that cache.
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    report, _ = audit(path)
    assert (report["rows_sha256"], report["name"]) == (dataset.rows_sha256, "other_fer2013")


@pytest.mark.usefixtures("environment")
def test_a_differing_copy_goes_as_fer2013_and_is_told(real: Dataset, tmp_path: Path) -> None:
    path = decoded(tmp_path / "my faces.csv", real, slice(1, None), changed=5)
    report, errors = audit(path)
    assert report["name"] == "fer2013"
    assert (report["is_known_fer2013"], report["rows_of_fer2013"]) == (False, 35_887 - 3 - 5)
    assert report["identity"] == (
        "a differing copy of FER2013: 5 of its 35884 rows are not in the one on which this project's numbers were "
        "measured, and 8 of that one's 35887 rows are missing"
    )
    assert errors == f"WARNING fer_train.data.readers.fer2013: {path}: {report['identity']}\n"
    # Only the name is the same: FER+ votes still need exactly FER2013's rows.
    with pytest.raises(InputError, match="known FER2013"):
        load_votes(load_dataset(path), path)


@pytest.mark.usefixtures("environment")
def test_fer2013_in_another_order_is_a_copy_but_not_the_known_one(real: Dataset, tmp_path: Path) -> None:
    report, errors = audit(decoded(tmp_path / "shuffled.csv", real, slice(None), shift=1))
    assert (report["name"], report["is_known_fer2013"], report["rows_of_fer2013"]) == ("fer2013", False, 35_887)
    assert report["identity"] == "FER2013 with its rows in another order"
    assert report["identity"] in errors


@pytest.mark.usefixtures("environment")
def test_a_part_of_fer2013_does_not_go_under_its_name(real: Dataset, tmp_path: Path) -> None:
    report, errors = audit(decoded(tmp_path / "fer2013.csv", real, slice(100)))
    assert (report["name"], report["rows_of_fer2013"]) == ("other_fer2013", 300)
    assert report["identity"].startswith("a part of FER2013: 0 of its 300 rows are not")
    assert report["identity"].endswith("35587 of that one's 35887 rows are missing")
    assert report["identity"] in errors


def test_fer2013_among_as_many_other_rows_is_other_data(real: Dataset, tmp_path: Path) -> None:
    training = real.splits["Training"]
    known = [MiniRow(int(training.labels[i]), "Training", training.images[i]) for i in range(56)]
    others = mini_rows(per_class=4, test_per_class=2)
    report, errors = audit(write_csv(tmp_path / "mixed.csv", csv_bytes(known + others)))
    assert (report["name"], report["rows"], report["rows_of_fer2013"]) == ("mixed", 112, 56)
    assert report["identity"].startswith("other data")
    assert errors == ""
