"""``data export --force`` replaces an earlier export and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.errors import InputError
from fer_train.data.dataset import load_dataset
from fer_train.data.export import export_class_folders
from support.data.fer2013 import write_mini_fer2013


@pytest.mark.parametrize(
    "name", ["train/precious/thesis.txt", "test/happy/holiday.jpg", "train/a/b/Training_00001.png"]
)
def test_the_users_own_files_are_never_replaced(name: str, tmp_path: Path) -> None:
    dataset = load_dataset(write_mini_fer2013(tmp_path / "fer2013.csv", per_class=2, test_per_class=1), cache=False)
    out = tmp_path / "out"
    mine = out / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match="not part of an export"):
        export_class_folders(dataset, out, force=True)
    assert mine.read_text() == "mine"


def test_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    dataset = load_dataset(write_mini_fer2013(tmp_path / "fer2013.csv", per_class=2, test_per_class=1), cache=False)
    out = tmp_path / "out"
    first = export_class_folders(dataset, out, image_format="jpg")
    assert export_class_folders(dataset, out, force=True) == first
    assert len(list(out.rglob("*.png"))) == first and not list(out.rglob("*.jpg"))
