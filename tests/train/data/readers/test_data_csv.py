"""Reading FER2013's CSV: every container and column spelling gives the same rows, and errors name the fault."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import InputError
from fer_train.data.dataset import Dataset, leak_free_training, load_dataset
from support.data.fer2013 import (
    FER2013_COLUMNS,
    ICML_COLUMNS,
    LABELS,
    USAGES,
    MiniRow,
    csv_bytes,
    mini_rows,
    write_csv,
    write_mini_fer2013,
)

CONTAINERS = ("fer2013.csv", "fer2013.csv.xz", "fer2013.csv.gz", "fer2013.zip", "fer2013.tar.gz")
TINY = {"per_class": 2, "test_per_class": 1, "side": 4}


def read(path: Path, *, skip_bad_rows: bool = False) -> Dataset:
    return load_dataset(path, skip_bad_rows=skip_bad_rows, cache=False)


def lines_of(**options: int) -> list[bytes]:
    return csv_bytes(mini_rows(**(TINY | options))).splitlines()


@st.composite
def random_rows(draw: st.DrawFn) -> list[MiniRow]:
    side = draw(st.integers(1, 5))
    pixels = st.lists(st.integers(0, 255), min_size=side * side, max_size=side * side)
    row = st.builds(
        lambda label, usage, values: MiniRow(label, usage, np.array(values, np.uint8).reshape(side, side)),
        st.integers(0, len(LABELS) - 1),
        st.sampled_from(USAGES),
        pixels,
    )
    return draw(st.lists(row, min_size=1, max_size=12))


def rows_sha256(rows: list[MiniRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(bytes([row.label]) + row.usage.encode() + b"\0" + row.pixels.tobytes())
    return digest.hexdigest()


@settings(max_examples=60, deadline=None)
@given(
    rows=random_rows(),
    container=st.sampled_from(CONTAINERS),
    columns=st.permutations(FER2013_COLUMNS) | st.just(list(ICML_COLUMNS)),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_rows_come_back_from_every_form(rows: list[MiniRow], container: str, columns: list[str], newline: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset = read(write_csv(Path(folder) / container, csv_bytes(rows, columns=columns, newline=newline)))
    assert dataset.labels == LABELS
    assert dataset.rows_sha256 == rows_sha256(rows)
    assert list(dataset.splits) == list(USAGES)
    for usage, split in dataset.splits.items():
        expected = [row for row in rows if row.usage == usage]
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert split.labels.tolist() == [row.label for row in expected]
        assert split.images.shape == (len(expected), *rows[0].pixels.shape)
        for image, row in zip(split.images, expected, strict=True):
            np.testing.assert_array_equal(image, row.pixels)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_corruption_raises_anything_but_an_input_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_mini_fer2013(Path(folder) / data.draw(st.sampled_from(CONTAINERS)), **TINY)
        content = bytearray(path.read_bytes())
        for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
            content[at] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        for skip_bad_rows in (False, True):
            try:
                dataset = read(path, skip_bad_rows=skip_bad_rows)
            except InputError as error:
                assert str(path) in str(error)
            else:
                assert sum(len(split) for split in dataset.splits.values()) > 0


def test_a_damaged_zip_directory_raises_nothing_but_an_input_error(tmp_path: Path) -> None:
    whole = write_mini_fer2013(tmp_path / "whole.zip", **TINY).read_bytes()
    path = tmp_path / "fer2013.zip"
    refused = 0
    # The local header is at the start, the directory at the end; 0xff makes sizes, versions and flags invalid.
    for at in [*range(45), *range(len(whole) - 110, len(whole))]:
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        try:
            read(path)
        except InputError:
            refused += 1
    assert refused > 20


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=400), magic=st.sampled_from([b"", b"\xfd7zXZ\0", b"PK\3\4", b"\x1f\x8b\x08"]))
def test_binary_junk_is_refused(content: bytes, magic: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fer2013.csv"
        path.write_bytes(magic + content)
        with pytest.raises(InputError, match=r"fer2013\.csv"):
            read(path)


def bad_rows() -> Iterator[tuple[str, bytes, str]]:
    good = b" ".join([b"7"] * 16)
    yield "too few pixels", b"0," + good[:-2] + b",Training", "15 pixels instead of 16"
    yield "too many pixels", b"0," + good + b" 1,Training", "17 pixels instead of 16"
    yield "no pixels", b"0,,Training", "0 pixels instead of 16"
    yield "label 9", b"9," + good + b",Training", "label '9'"
    yield "label not a number", b"happy," + good + b",Training", "label 'happy'"
    yield "label negative", b"-1," + good + b",Training", "label '-1'"
    yield "pixel 300", b"0,300" + good[1:] + b",Training", "pixel 1 is '300'"
    yield "pixel negative", b"0," + good[:-1] + b"-4,Training", "pixel 16 is '-4'"
    yield "pixel a fraction", b"0,1.5" + good[1:] + b",Training", "pixel 1 is '1.5'"
    yield "unknown Usage", b"0," + good + b",Validation", "Usage 'Validation'"
    yield "cut in the Usage", b"0," + good + b",Publi", "Usage 'Publi'"
    yield "cut in the pixels", b"0,7 7 7", "2 columns instead of 3"
    yield "a column too many", b"0," + good + b",Training,x", "4 columns instead of 3"
    yield "binary", b"\xff\xfe\x00\x01\x00", "1 columns instead of 3"


@pytest.mark.parametrize(("row", "said"), [pytest.param(row, said, id=name) for name, row, said in bad_rows()])
def test_a_malformed_row_is_named_by_file_and_line_or_skipped_and_counted(
    row: bytes, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = lines_of()
    path = write_csv(tmp_path / "broken.csv", b"\n".join([*lines[:3], b"", row, *lines[3:]]))
    with pytest.raises(InputError) as caught:
        read(path)
    assert f"{path}, line 5: {said}" in str(caught.value)
    assert "\n" not in str(caught.value)

    dataset = read(path, skip_bad_rows=True)
    assert dataset.skipped_rows == 1
    assert dataset.rows_sha256 == read(write_csv(tmp_path / "good.csv", b"\n".join(lines))).rows_sha256
    assert "1 malformed rows were left out" in caplog.text


@pytest.mark.parametrize("container", ["fer2013.csv.xz", "fer2013.csv.gz", "fer2013.tar.gz"])
def test_a_truncated_archive_names_the_line_and_gives_the_rows_before_it(container: str, tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / container)
    whole = read(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r", line \d+: (damaged or truncated here|\d+ )"):
        read(path)
    part = read(path, skip_bad_rows=True)
    assert part.skipped_rows == 1
    kept = len(part.splits["Training"])
    assert 0 < kept < len(whole.splits["Training"])
    np.testing.assert_array_equal(part.splits["Training"].images, whole.splits["Training"].images[:kept])


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"emotion,pixels", "no column usage; Kaggle's train.csv"),
        (b"pixels", "no column emotion, usage"),
        (b"0,1 2 3 4,Training", "no column emotion, pixels, usage"),
    ],
)
def test_a_missing_column_is_named(header: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(write_csv(tmp_path / "train.csv", header + b"\n0,1 2 3 4\n"))


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"\n\n", "is empty"), (b"emotion,pixels,Usage\n", "no usable row")]
)
def test_an_empty_file_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(write_csv(tmp_path / "fer2013.csv", content))


def test_an_endless_line_is_not_read_into_memory(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", lines_of()[0] + b"\n" + b"7 " * (3 << 20))
    with pytest.raises(InputError, match="line 2: 1 columns"):
        read(path)


def test_an_archive_without_the_csv_is_refused(tmp_path: Path) -> None:
    for name in ("fer2013.zip", "fer2013.tar.gz"):
        with pytest.raises(InputError, match=r"holds neither fer2013\.csv nor icml_face_data\.csv"):
            read(write_csv(tmp_path / name, b"x", member="about.txt"))


@pytest.mark.parametrize("differ", [False, True])
def test_a_tar_with_two_tables_is_refused_unless_they_are_equal(differ: bool, tmp_path: Path) -> None:
    text = csv_bytes(mini_rows(**TINY))
    path = tmp_path / "fer2013.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for folder, data in (("a", text), ("b", csv_bytes(mini_rows(**{**TINY, "per_class": 3})) if differ else text)):
            member = tarfile.TarInfo(f"{folder}/fer2013.csv")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    if differ:
        with pytest.raises(InputError, match=r"several different CSV files \(a/fer2013\.csv, b/fer2013\.csv\)"):
            read(path)
    else:
        assert len(read(path).splits["Training"]) == 14


def test_the_form_is_told_by_content_and_not_by_name(tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv.xz", **TINY)
    renamed = path.rename(tmp_path / "fer2013.csv")
    assert len(read(renamed).splits["Training"]) == 14


def test_icml_member_of_an_archive_is_found(tmp_path: Path) -> None:
    text = csv_bytes(mini_rows(**TINY), columns=ICML_COLUMNS)
    for name in ("archive.zip", "archive.tar.gz"):
        assert read(write_csv(tmp_path / name, text, member="icml_face_data.csv")).image_size == (4, 4)


def test_data_is_looked_for_in_the_variable_then_here_then_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_EDGE_DATA", raising=False)
    with pytest.raises(InputError, match=r"icml_face_data\.csv or fer2013\.tar\.gz from https://www\.kaggle\.com"):
        load_dataset(cache=False)
    places = {
        "cache": tmp_path / "cache/fer-edge/fer2013.csv.xz",
        "here": tmp_path / "data/icml_face_data.csv",
        "variable": tmp_path / "elsewhere/fer2013.tar.gz",
    }
    for seed, (name, path) in enumerate(places.items()):
        write_mini_fer2013(path, seed=seed, **TINY)
        if name == "variable":
            monkeypatch.setenv("FER_EDGE_DATA", str(path.parent))
        assert load_dataset(cache=False).rows_sha256 == read(path).rows_sha256
    monkeypatch.setenv("FER_EDGE_DATA", str(tmp_path / "gone"))
    with pytest.raises(InputError, match="FER_EDGE_DATA="):
        load_dataset(cache=False)


def test_training_leaves_out_what_is_tested_on(tmp_path: Path) -> None:
    dataset = read(write_mini_fer2013(tmp_path / "fer2013.csv", leaks=3, duplicates=2, **TINY))
    kept = leak_free_training(dataset)
    # 2 of each of 7 classes, then 2 repeated Training rows; the 3 copies of PublicTest rows are last.
    assert kept.dtype == np.int64
    assert kept.tolist() == list(range(16))
