"""Test processes share a folder that one of them creates completely or not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.processes.shared_files import made_once


def test_it_is_created_once_and_no_process_sees_an_incomplete_one(tmp_path: Path) -> None:
    folder, both_called = tmp_path / "new" / "tiny", threading.Barrier(2, timeout=60)
    created: list[Path] = []

    def make(path: Path) -> None:
        created.append(path)
        path.mkdir()
        (path / "first").touch()
        assert not folder.exists()  # no process may see it incomplete
        (path / "second").touch()

    def call(_: int) -> Path:
        both_called.wait()
        return made_once(folder, make)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(call, range(2))) == [folder, folder]
    assert len(created) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]
    assert {path.name for path in folder.parent.iterdir()} == {"tiny", ".tiny.lock"}
    assert made_once(folder, lambda path: pytest.fail(f"{path} made again")) == folder


def test_another_process_waits_for_it(tmp_path: Path) -> None:
    started, go_on = threading.Event(), threading.Event()

    def make(path: Path) -> None:
        started.set()
        assert go_on.wait(60)
        path.mkdir()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(made_once, tmp_path / "tiny", make)
        assert started.wait(60)
        second = pool.submit(made_once, tmp_path / "tiny", lambda path: pytest.fail("created twice"))
        assert not second.done()
        go_on.set()
        assert first.result(60) == second.result(60) == tmp_path / "tiny"


def test_a_failed_creation_leaves_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made_once(tmp_path / "tiny", lambda path: None)
    assert [path.name for path in tmp_path.iterdir()] == [".tiny.lock"]
    made_once(tmp_path / "tiny", Path.mkdir)
    assert (tmp_path / "tiny").is_dir()
