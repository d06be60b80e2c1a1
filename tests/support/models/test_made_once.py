"""A folder shared by all test processes exists completely or not at all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.models.bundles import made_once


def test_two_processes_that_create_it_both_get_it_complete(tmp_path: Path) -> None:
    folder, both_make = tmp_path / "new" / "tiny", threading.Barrier(2, timeout=60)

    def make(path: Path) -> None:
        path.mkdir()
        (path / "first").touch()
        assert not folder.exists()  # no process may see a part of it
        both_make.wait()
        (path / "second").touch()

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: made_once(folder, make), range(2)))
    assert made == [folder, folder]
    assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]
    assert list(folder.parent.iterdir()) == [folder]
    assert made_once(folder, lambda path: pytest.fail(f"{path} made again")) == folder


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made_once(tmp_path / "tiny", lambda path: None)
    assert list(tmp_path.iterdir()) == []
