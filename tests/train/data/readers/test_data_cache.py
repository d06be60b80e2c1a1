"""The cache of decoded arrays: used while the source is unchanged, never trusted, never required."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import InputError
from fer_train.data.dataset import Dataset, load_dataset
from support.data.fer2013 import write_mini_fer2013

TINY = {"per_class": 2, "test_per_class": 1, "side": 4}


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(root))
    return root


def cached(root: Path) -> list[Path]:
    return list((root / "fer-edge" / "decoded").iterdir())


def same(one: Dataset, other: Dataset) -> bool:
    return (one.name, one.labels, one.rows_sha256, one.skipped_rows, one.notes) == (
        other.name,
        other.labels,
        other.rows_sha256,
        other.skipped_rows,
        other.notes,
    ) and all(
        np.array_equal(one.splits[name].images, other.splits[name].images)
        and np.array_equal(one.splits[name].labels, other.splits[name].labels)
        and one.splits[name].images.dtype == other.splits[name].images.dtype
        and one.splits[name].labels.dtype == other.splits[name].labels.dtype
        for name in one.splits
    )


def test_the_second_read_comes_from_the_cache(tmp_path: Path, cache_root: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", **TINY)
    first = load_dataset(path)
    assert len(cached(cache_root)) == 1
    # Same size and time, other content: only the cache still has the old rows.
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert same(load_dataset(path), first)
    with pytest.raises(InputError):
        load_dataset(path, cache=False)


def test_a_changed_source_is_decoded_again(tmp_path: Path, cache_root: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", **TINY)
    first = load_dataset(path)
    write_mini_fer2013(path, seed=5, **TINY)
    os.utime(path, ns=(1, 1))
    assert load_dataset(path).rows_sha256 != first.rows_sha256
    assert len(cached(cache_root)) == 1


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_damaged_cache_is_rebuilt(
    damage: bytes | None, tmp_path: Path, cache_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", **TINY)
    first = load_dataset(path)
    (file,) = cached(cache_root)
    whole = file.read_bytes()
    # Zip has checksums of its members: it detects every change in pixels, but not between members.
    pixels = whole.index(first.splits["Training"].images.tobytes())
    flipped = whole[:pixels] + bytes([whole[pixels] ^ 0xFF]) + whole[pixels + 1 :]
    file.write_bytes(flipped if damage is None else damage)
    assert same(load_dataset(path), first)
    assert "damaged" in caplog.text
    caplog.clear()
    assert same(load_dataset(path), first)
    assert not caplog.text


def test_a_cache_that_cannot_be_written_is_only_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = tmp_path / "a file"
    blocker.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocker))
    dataset = load_dataset(write_mini_fer2013(tmp_path / "fer2013.csv", **TINY))
    assert len(dataset.splits["Training"]) == 14
    assert "not cached" in caplog.text


def test_a_cache_with_skipped_rows_does_not_hide_them_from_a_strict_read(tmp_path: Path) -> None:
    path = write_mini_fer2013(tmp_path / "fer2013.csv", **TINY)
    with path.open("a") as stream:
        stream.write("9,1 2 3,Training\n")
    assert load_dataset(path, skip_bad_rows=True).skipped_rows == 1
    assert load_dataset(path, skip_bad_rows=True).skipped_rows == 1
    with pytest.raises(InputError, match="line 30"):
        load_dataset(path)
