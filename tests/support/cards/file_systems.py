"""Programs that create, check and read file systems in image files: the reference for our readers and writers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1 << 20
_EPOCH = "1759276800"  # 2025-10-01, so that nothing depends on today's date
_PACKAGES = {
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "fsck.fat": "dosfstools",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
}


def find_program(name: str) -> str | None:
    """Return the path of the program ``name``; Debian has some in folders that are not on a user's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


_MISSING = sorted({package for name, package in _PACKAGES.items() if find_program(name) is None})

needs_programs = pytest.mark.skipif(bool(_MISSING), reason=f"needs Debian's packages {' '.join(_MISSING)}")
"""Mark for tests that create or check images with these programs."""


def run_program(command: list[str], text: str = "", *, codes: tuple[int, ...] = (0,)) -> str:
    """Run a program in a UTF-8 locale with a fixed date; return its output."""
    program = find_program(command[0])
    assert program, f"{command[0]} is not installed"
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": _EPOCH,
        "E2FSPROGS_FAKE_TIME": _EPOCH,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "DEBUGFS_PAGER": "__none__",
    }
    done = subprocess.run(
        [program, *command[1:]], input=text, capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert done.returncode in codes, f"{' '.join(command)}: {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


def assert_fat_is_clean(path: Path, offset: int = 0, size: int | None = None) -> None:
    """Assert that fsck.fat finds no fault in the FAT in ``path``; in an image, a copy is checked."""
    copy = path
    if size is not None:
        copy = cut_out(path, path.with_suffix(".part"), offset, size)
    said = run_program(["fsck.fat", "-n", str(copy)])
    lines = [line for line in said.splitlines() if not line.startswith("fsck.fat ")]
    assert len(lines) == 1, said  # the number of files and clusters, and no fault
    if copy != path:
        copy.unlink()


def assert_ext4_is_clean(path: Path, offset: int = 0) -> None:
    """Assert that e2fsck finds no fault in the ext4 in ``path``."""
    run_program(["e2fsck", "-f", "-n", f"{path}?offset={offset}"])


def fat_tree(path: Path, folder: Path, offset: int = 0) -> dict[str, bytes]:
    """Return all files on a FAT by path, as read by mtools (into ``folder``)."""
    folder.mkdir()
    run_program(["mcopy", "-s", "-n", "-i", f"{path}@@{offset}", "::", str(folder)])
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def debugfs(path: Path, request: str, offset: int = 0) -> str:
    """Return the output of debugfs for the ext4 in ``path``."""
    return run_program(["debugfs", "-R", request, f"{path}?offset={offset}"])


@contextmanager
def flipped(path: Path, changes: Mapping[int, int]) -> Iterator[None]:
    """Change the file's bytes at these places during the block."""
    with path.open("r+b", buffering=0) as stream:
        old = {}
        for at, value in changes.items():
            stream.seek(at)
            old[at] = stream.read(1)
            stream.seek(at)
            stream.write(bytes([value]))
        try:
            yield
        finally:
            for at, byte in old.items():
                stream.seek(at)
                stream.write(byte)


def cut_out(path: Path, out: Path, start: int, size: int) -> Path:
    """Copy ``size`` bytes from ``start`` of a sparse file to another file."""
    with path.open("rb") as source, out.open("wb") as target:
        source.seek(start)
        for at in range(0, size, MIB):
            piece = source.read(min(MIB, size - at))
            if piece.count(0) == len(piece):
                target.seek(len(piece), os.SEEK_CUR)
            else:
                target.write(piece)
        target.truncate(size)
    return out
