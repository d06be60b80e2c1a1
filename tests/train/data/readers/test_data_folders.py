"""Class folders of images: how each file is used, refusals, and the export that writes them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import InputError, OutputError
from fer_edge.images.files import IMAGE_SUFFIXES
from fer_train.data.dataset import Dataset, load_dataset
from fer_train.data.export import export_class_folders
from support.data.fer2013 import mini_images, write_mini_fer2013

TINY = {"per_class": 3, "test_per_class": 2, "side": 12}
IMAGE = mini_images([0], side=12)[0]


def put(path: Path, image: np.ndarray = IMAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def read(path: Path, *, skip_bad_rows: bool = False) -> Dataset:
    return load_dataset(path, skip_bad_rows=skip_bad_rows, cache=False)


def sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def test_png_export_reads_back_as_the_same_rows_in_the_same_order(tmp_path: Path) -> None:
    dataset = read(write_mini_fer2013(tmp_path / "fer2013.csv.gz", duplicates=2, **TINY))
    count = export_class_folders(dataset, tmp_path / "out")
    assert count == sum(sizes(dataset).values())
    # The mini file's rows are ordered by split, and added Training rows keep their position within the split.
    back = read(tmp_path / "out")
    for name, split in dataset.splits.items():
        np.testing.assert_array_equal(back.splits[name].images, split.images)
        np.testing.assert_array_equal(back.splits[name].labels, split.labels)
    assert not back.notes
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test", "train"]


def test_export_names_files_by_split_and_row_and_takes_splits_and_jpg(tmp_path: Path) -> None:
    dataset = read(write_mini_fer2013(tmp_path / "fer2013.csv", **TINY))
    export_class_folders(dataset, tmp_path / "out", image_format="jpg", splits=("PrivateTest",))
    names = {path.name for path in (tmp_path / "out").rglob("*.jpg")}
    assert names == {f"PrivateTest_{row:05d}.jpg" for row in range(14)}
    first = dataset.labels[dataset.splits["PrivateTest"].labels[0]]
    assert (tmp_path / "out/test" / first / "PrivateTest_00000.jpg").is_file()
    back = read(tmp_path / "out")
    assert sizes(back) == {"Training": 0, "PublicTest": 0, "PrivateTest": 14}
    difference = back.splits["PrivateTest"].images.astype(int) - dataset.splits["PrivateTest"].images
    assert np.abs(difference).mean() < 8


def test_export_refuses_what_it_would_destroy(tmp_path: Path) -> None:
    dataset = read(write_mini_fer2013(tmp_path / "fer2013.csv", **TINY))
    out = tmp_path / "out"
    out.mkdir()
    export_class_folders(dataset, out)
    with pytest.raises(InputError, match="not empty"):
        export_class_folders(dataset, out)
    export_class_folders(dataset, out, splits=("PublicTest",), force=True)
    assert sizes(read(out)) == {"Training": 0, "PublicTest": 14, "PrivateTest": 0}
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        export_class_folders(dataset, out, force=True)
    assert (out / "thesis.txt").read_text() == "years of work"
    with pytest.raises(InputError, match="is a file"):
        export_class_folders(dataset, out / "thesis.txt", force=True)
    with pytest.raises(OutputError, match="cannot be written"):
        export_class_folders(dataset, out / "thesis.txt" / "below")


def test_export_that_fails_leaves_the_earlier_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = read(write_mini_fer2013(tmp_path / "fer2013.csv", **TINY))
    out = tmp_path / "out"
    export_class_folders(dataset, out)
    before = read(out).rows_sha256
    written = 0
    really = Path.write_bytes

    def interrupted(path: Path, data: bytes) -> int:
        nonlocal written
        written += 1
        if written == 10:
            raise KeyboardInterrupt
        return really(path, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_class_folders(dataset, out, force=True)
    assert read(out).rows_sha256 == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fer2013.csv", "out"]


def test_the_file_name_says_which_test_set_an_image_belongs_to(tmp_path: Path) -> None:
    for name in (
        "train/angry/Training_1.jpg",
        "train/angry/im2.png",
        "train/happiness/PrivateTest_7.jpg",
        "test/Surprised/PublicTest_3.jpg",
        "test/sad/PrivateTest_4.JPG",
        "test/anger/im5.png",
        "test/anger/Training_6.png",
    ):
        put(tmp_path / name)
    (tmp_path / "train/.DS_Store").touch()
    (tmp_path / "train/angry/Thumbs.db").touch()
    (tmp_path / "train/angry/.im9.png").touch()
    dataset = read(tmp_path)
    assert sizes(dataset) == {"Training": 2, "PublicTest": 3, "PrivateTest": 2}
    assert [dataset.labels[i] for i in dataset.splits["PrivateTest"].labels] == ["sad", "happy"]
    assert [dataset.labels[i] for i in dataset.splits["PublicTest"].labels] == ["surprise", "angry", "angry"]
    assert len(dataset.notes) == 2
    assert dataset.notes[0].startswith("2 images of test/")
    assert dataset.notes[1].startswith("1 images of train/")


def test_classes_that_fer2013_does_not_have_are_listed(tmp_path: Path) -> None:
    put(tmp_path / "train/happy/1.png")
    put(tmp_path / "train/contempt/1.png")
    put(tmp_path / "train/bored/1.png")
    with pytest.raises(InputError, match="bored, contempt; allowed: angry, disgust"):
        read(tmp_path)


def test_colour_becomes_grey(tmp_path: Path) -> None:
    put(tmp_path / "train/happy/1.png", np.repeat(IMAGE[..., None], 3, axis=2))
    np.testing.assert_array_equal(read(tmp_path).splits["Training"].images[0], IMAGE)


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "junk", "larger", "flipped"])
def test_a_bad_image_is_named_or_skipped(
    ending: str, damage: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "train/happy/Training_1.png")
    bad = put(tmp_path / f"train/sad/Training_2.{ending}")
    content = bad.read_bytes()
    if damage == "larger":
        put(bad, np.zeros((13, 12), np.uint8))
    elif damage == "flipped":
        middle = len(content) // 2 if ending == "png" else 3
        bad.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    else:
        bad.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "junk": b"x" * 300}[damage])
    with pytest.raises(InputError, match=f"Training_2.{ending}: "):
        read(tmp_path)
    dataset = read(tmp_path, skip_bad_rows=True)
    assert dataset.skipped_rows == 1
    assert sizes(dataset)["Training"] == 1
    assert capfd.readouterr().err == ""


def test_a_jpeg_cut_short_after_its_thumbnail_is_no_half_grey_face(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", mini_images([0], side=48)[0])[1].tobytes()
    thumbnail = b"Exif\0\0" + cv2.imencode(".jpg", IMAGE)[1].tobytes()
    whole = data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]
    path = tmp_path / "train/happy/Training_1.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(whole)
    assert sizes(read(tmp_path))["Training"] == 1
    # A card that is removed too early leaves zeros at the end; OpenCV fills the missing part with grey.
    path.write_bytes(whole[:-100] + bytes(100))
    with pytest.raises(InputError, match=r"Training_1\.jpg: the image is cut short .*--skip-bad-rows"):
        read(tmp_path)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train/happy").mkdir(parents=True)
    with pytest.raises(InputError, match=r"train/happy: an empty class folder: .*; fill or remove it$"):
        read(tmp_path)
    (tmp_path / "train/happy").rmdir()
    with pytest.raises(InputError, match="no usable image"):
        read(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError, match="no FER2013 in this folder, and no class folders with images"):
        read(tmp_path / "elsewhere")


def test_every_kind_of_image_counts_and_an_export_leaves_no_empty_folder(tmp_path: Path) -> None:
    for suffix in sorted(IMAGE_SUFFIXES - {".jpg", ".jpeg"}):
        path = tmp_path / f"images/train/happy/{suffix[1:]}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), cv2.merge([IMAGE] * 3) if suffix == ".ppm" else IMAGE)
    dataset = read(tmp_path / "images")
    assert sizes(dataset)["Training"] == len(IMAGE_SUFFIXES) - 2
    export_class_folders(dataset, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*/*")] == ["happy"]
    assert read(tmp_path / "out").rows_sha256 == dataset.rows_sha256


def test_the_cache_of_class_folders_notices_a_changed_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "images"
    put(root / "train/happy/1.png")
    first = load_dataset(root)
    assert load_dataset(root).rows_sha256 == first.rows_sha256
    put(root / "train/happy/2.png", 255 - IMAGE)
    assert sizes(load_dataset(root))["Training"] == 2
