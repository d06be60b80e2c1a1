"""FAT volumes that are damaged according to fsck.fat: nothing is written to them."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from fer_edge.errors import InputError
from support.cards.fat_volumes import BITS, make_fat, volume
from support.cards.file_systems import needs_programs, run_program

pytestmark = needs_programs


@pytest.fixture(scope="module", params=BITS, ids="FAT{}".format)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FAT that mkfs.vfat made and mtools filled. Copy it before changing it."""
    return make_fat(tmp_path_factory.mktemp("fat"), request.param)


@pytest.fixture
def fat(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "x.fat"))


def entry_of(content: bytes, name: bytes) -> tuple[int, int]:
    """Return the offset of the entry with that short name, and its first cluster."""
    at = content.index(name + b" ") if len(name) < 11 else content.index(name)
    high, low = struct.unpack_from("<H4xH", content, at + 20)
    return at, high << 16 | low


def changed_table(content: bytes, changes: dict[int, int]) -> bytes:
    """Return the volume with changed entries in all copies of its table; negative ones count from the end."""
    is_32 = len(content) == BITS[32]
    [reserved], [small], [large] = (
        struct.unpack_from(form, content, at) for form, at in (("<H", 14), ("<H", 22), ("<I", 36))
    )
    new = bytearray(content)
    for copy in range(2):
        for cluster, value in changes.items():
            at = (reserved + copy * (small or large)) * 512 + cluster * (4 if is_32 else 2)
            struct.pack_into(
                "<I" if is_32 else "<H", new, at, value if value >= 0 else (1 << (28 if is_32 else 16)) + value
            )
    return bytes(new)


def assert_refused(path: Path, content: bytes, says: str, *, fsck: bool = True) -> None:
    """Assert that fsck.fat finds ``content`` damaged, and that our code refuses it before any change."""
    path.write_bytes(content)
    if fsck:
        run_program(["fsck.fat", "-n", str(path)], codes=(1,))
    with pytest.raises(InputError, match=says), volume(path):
        pass
    assert path.read_bytes() == content


def test_a_volume_of_a_medium_with_errors_is_not_written_to(fat: Path) -> None:
    content = fat.read_bytes()
    is_32 = len(content) == BITS[32]
    scan = 65 if is_32 else 37
    says = r"x\.fat: its medium had errors when it was copied \(marked for a check of its surface\); use a fresh image"
    # fsck.fat checks neither of them.
    assert_refused(fat, content[:scan] + b"\2" + content[scan + 1 :], says, fsck=False)
    assert_refused(
        fat, changed_table(content, {1: ~0x04000000 & 0x0FFFFFFF if is_32 else ~0x4000 & 0xFFFF}), says, fsck=False
    )


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("free within", "passes through a free or a bad cluster"),
        ("free at the start", "README begins at the cluster .*, which is free, bad or missing"),
        ("outside", "refers to a cluster that it does not have"),
        ("shared chain", "two files that share a cluster"),
        ("shared start", "shares the cluster"),
        ("too short", r"bcm2710-rpi-3-b.dtb has 3600 bytes in 2 clusters"),
        ("too long", r"bcm2710-rpi-3-b.dtb has 100 bytes in 8 clusters"),
        ("a folder in itself", "shares the cluster"),
    ],
)
def test_what_fsck_calls_damaged_is_not_written_to(fat: Path, damage: str, says: str) -> None:
    content = fat.read_bytes()
    at, kernel = entry_of(content, b"BCM271~1DTB")
    readme_at, readme = entry_of(content, b"README ")
    _, overlays = entry_of(content, b"OVERLAYS")
    deep_at, _ = entry_of(content, b"DEEP")
    low = slice(readme_at + 26, readme_at + 28)
    new = bytearray(content)
    if damage == "free within":
        new[:] = changed_table(content, {kernel + 3: 0})
    elif damage == "free at the start":
        new[:] = changed_table(content, {readme: 0})
    elif damage == "outside":
        new[:] = changed_table(content, {kernel + 3: len(content) // 512})
    elif damage == "shared chain":
        new[:] = changed_table(content, {readme: kernel + 3})
    elif damage == "shared start":
        new[low] = struct.pack("<H", kernel)
    elif damage == "too short":
        new[:] = changed_table(content, {kernel + 1: -1})
    elif damage == "too long":
        new[at + 28 : at + 32] = struct.pack("<I", 100)
    else:
        new[deep_at + 26 : deep_at + 28] = struct.pack("<H", overlays)
    assert_refused(fat, bytes(new), says, fsck=damage != "a folder in itself")


@pytest.mark.parametrize("entries", [500, 1])
def test_a_root_folder_that_does_not_fill_its_sectors_is_refused(fat: Path, entries: int) -> None:
    content = fat.read_bytes()
    if len(content) == BITS[32]:
        pytest.skip("FAT16 alone has such a folder")
    new = content[:17] + struct.pack("<H", entries) + content[19:]
    assert_refused(fat, new, rf"root folder of {entries} entries, which do not fill whole sectors")
