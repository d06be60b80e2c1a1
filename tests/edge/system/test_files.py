"""A file under its final name is complete, whatever happens while it is written."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.errors import ModelError, OutputError, SourceLostError
from fer_edge.system.files import PendingFile, atomic_path, file_identity, write_bytes_atomically, write_text_atomically


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@given(data=st.binary())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_bytes_are_written_completely(tmp_path: Path, data: bytes) -> None:
    write_bytes_atomically(tmp_path / "a.bin", data)
    assert (tmp_path / "a.bin").read_bytes() == data
    assert names(tmp_path) == ["a.bin"]


def test_text_is_utf8_on_any_system(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "a.txt", "Grüße, 日本\n")
    assert (tmp_path / "a.txt").read_bytes() == "Grüße, 日本\n".encode()


def test_the_temporary_file_keeps_the_suffix_and_is_hidden(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "film.mp4") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".film.mp4.")
        assert temporary.suffix == ".mp4"
        assert not (tmp_path / "film.mp4").exists()
    assert names(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), ModelError("no"), OutputError("no"), SourceLostError("no")]
)
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("older")
    with pytest.raises(type(error)) as caught, atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert caught.value is error
    assert path.read_text() == "older"
    assert names(tmp_path) == ["a.txt"]


def test_disk_errors_become_output_errors(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written: No space left"), atomic_path(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_permissions_come_from_the_umask_or_the_replaced_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes_atomically(tmp_path / "new", b"")
        (tmp_path / "private").touch(0o600)
        write_bytes_atomically(tmp_path / "private", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.txt").write_text("older")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "a.txt")
    (tmp_path / "new").symlink_to(Path("disk") / "b.txt")
    write_text_atomically(tmp_path / "link", "newer")
    write_text_atomically(tmp_path / "new", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").is_symlink()
    assert (tmp_path / "disk" / "a.txt").read_text() == "newer"
    assert (tmp_path / "disk" / "b.txt").read_text() == "new"


@pytest.mark.parametrize("name", ["none/a.txt", ".", "x" * 300, "a\0b", "file/a.txt"])
def test_unwritable_paths_are_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    before = names(tmp_path)
    with pytest.raises(OutputError) as caught:
        write_bytes_atomically(tmp_path / name, b"x")
    assert str(caught.value).startswith(str(tmp_path / name))
    assert names(tmp_path) == before


def test_the_longest_possible_file_name(tmp_path: Path) -> None:
    for name in ("x" * 255, "x" * 100 + "." + "y" * 154, "ü" * 127):
        write_bytes_atomically(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


@pytest.mark.skipif(os.name != "posix", reason="pipes with names are POSIX's")
def test_pipes_and_devices_are_written_directly(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with atomic_path(tmp_path / "pipe") as path:
        path.write_bytes(b"through")
    reader.join(10)
    assert got == [b"through"]
    assert (tmp_path / "pipe").is_fifo()
    with atomic_path(Path(os.devnull)) as path:
        path.write_bytes(b"away")
    assert Path(os.devnull).is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_named() -> None:
    with pytest.raises(OutputError, match="/dev/full: cannot be written: No space left"):
        write_text_atomically(Path("/dev/full"), "x")
    assert Path("/dev/full").is_char_device()


def test_all_paths_of_a_file_have_one_identity(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "sub").mkdir()
    assert file_identity(tmp_path / "link") == file_identity(tmp_path / "sub" / ".." / "a")
    assert file_identity(tmp_path / "new") == file_identity(tmp_path / "sub" / ".." / "b")  # does not exist yet
    different = {file_identity(tmp_path / name) for name in ("a", "b", "c", "loop", "a\0b")}
    assert len(different) == 5


def test_a_pending_file_exists_only_after_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    pending = PendingFile(path)
    pending.temporary.write_text("one")
    assert not path.exists()
    pending.commit()
    pending.commit()
    pending.discard()
    assert path.read_text() == "one"
    pending = PendingFile(path)
    pending.temporary.write_text("two")
    pending.discard()
    pending.discard()
    assert path.read_text() == "one"
    assert names(tmp_path) == ["a.txt"]
    with pytest.raises(OutputError, match="is a folder"):
        PendingFile(tmp_path)
