"""Compare two images of one card: file by file in its two file systems, byte by byte outside of them."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fer_flash.image.card_image import CardImage
from fer_flash.image.partitions import Partition
from support.cards.file_systems import MIB, debugfs, fat_tree

Files = dict[str, tuple[object, ...]]


@dataclass(frozen=True)
class Differences:
    """Paths of files, folders and links that were added, changed or removed, and positions of other differing bytes."""

    boot: frozenset[str]
    root: frozenset[str]
    outside: tuple[int, ...]
    """Offsets of the MiB outside of the two partitions that differ."""


def differences(before: Path, after: Path) -> Differences:
    """Compare the images, read by mtools and debugfs; both must have the same partitions.

    In the root, permissions and links count too. As root, owners are compared as well.
    """
    with CardImage(before) as first, CardImage(after) as second:
        boot, root = _places(first)
        assert first.partitions == second.partitions
    with tempfile.TemporaryDirectory(dir=after.parent) as scratch:
        boots = [_boot(path, boot, Path(scratch, f"boot{index}")) for index, path in enumerate((before, after))]
        roots = [_root(path, root, Path(scratch, f"root{index}")) for index, path in enumerate((before, after))]
    return Differences(_changed(*boots), _changed(*roots), _outside(before, after, (boot, root)))


def _places(card: CardImage) -> tuple[Partition, Partition]:
    boot, root = (
        next(each for each in card.partitions if each.start == volume.start) for volume in (card.boot, card.root)
    )
    return boot, root


def _boot(path: Path, place: Partition, scratch: Path) -> Files:
    return {name: (hashlib.sha256(data).digest(),) for name, data in fat_tree(path, scratch, place.start).items()}


def _root(path: Path, place: Partition, scratch: Path) -> Files:
    scratch.mkdir()
    debugfs(path, f"rdump / {scratch}", place.start)
    files: Files = {}
    for folder, folders, names in os.walk(scratch):
        for each in (Path(folder, name) for name in (*folders, *names)):
            status = each.lstat()
            what: object = None
            if stat.S_ISLNK(status.st_mode):
                what = os.readlink(each)  # noqa: PTH115 — a Path would lose a slash at its end
            elif stat.S_ISREG(status.st_mode):
                what = hashlib.sha256(each.read_bytes()).digest()
            files[str(each.relative_to(scratch))] = (status.st_mode, status.st_uid, status.st_gid, what)
    return files


def _changed(before: Files, after: Files) -> frozenset[str]:
    return frozenset(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _outside(before: Path, after: Path, places: tuple[Partition, ...]) -> tuple[int, ...]:
    """Return where they differ outside of ``places``, whose starts and ends are multiples of a MiB in our stand-ins."""
    inside = [range(each.start, each.start + each.size) for each in places]
    found = []
    with before.open("rb") as first, after.open("rb") as second:
        at = 0
        while True:
            left, right = first.read(MIB), second.read(MIB)
            if not left and not right:
                return tuple(found)
            if left != right and not any(at in place for place in inside):
                found.append(at)
            at += MIB
