"""Whole images: stand-ins for Raspberry Pi OS of each style and partition table, and files that are not images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fer_edge.errors import InputError, OutputError
from fer_flash.image.card_image import CardImage
from support.cards.differences import Differences, differences
from support.cards.file_systems import (
    MIB,
    assert_ext4_is_clean,
    assert_fat_is_clean,
    cut_out,
    needs_programs,
    run_program,
)
from support.cards.stock_images import DISK_ID, STYLES, Table, make_stock_image

pytestmark = needs_programs

BOOT_AT, BOOT_SIZE, ROOT_AT = 8 * MIB, 136 * MIB, 144 * MIB


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stock_image(tmp_path_factory.mktemp("stock"), style="cloudinit", release="trixie")


def copy_of(image: Path, folder: Path) -> Path:
    return cut_out(image, folder / "copy.img", 0, image.stat().st_size)


@pytest.mark.parametrize("table", ["mbr", "gpt"])
@pytest.mark.parametrize("style", STYLES)
def test_the_stand_ins_are_true(tmp_path: Path, style: str, table: Table) -> None:
    release = "bookworm" if style == "systemd" else "trixie"
    path = make_stock_image(tmp_path, style=style, release=release, table=table)
    assert path.stat().st_blocks * 512 < 20 * MIB
    with CardImage(path) as card:
        assert [each.kind for each in card.partitions] == ["fat", "linux"]
        partuuid = f"{DISK_ID}-02" if table == "mbr" else run_program(["sfdisk", "--part-uuid", str(path), "2"])
        assert f"root=PARTUUID={partuuid.strip().lower()} " in card.boot.read("cmdline.txt").decode()
        assert f"VERSION_CODENAME={release}\n" in card.root.read("etc/os-release").decode()
        for name in STYLES[style].boot:
            assert card.boot.exists(name)
        for name in STYLES[style].root:
            assert card.root.exists(name)
    assert_fat_is_clean(path, BOOT_AT, BOOT_SIZE)
    assert_ext4_is_clean(path, ROOT_AT)


def test_the_boot_partition_is_written_and_all_else_stays(stock: Path, tmp_path: Path) -> None:
    path = copy_of(stock, tmp_path)
    with CardImage(path, writable=True) as card:
        card.boot.write("fer-edge/install.sh", b"#!/bin/sh\n")
        card.boot.write("user-data", b"#cloud-config\n# changed\n")
        assert card.boot.read("fer-edge/install.sh") == b"#!/bin/sh\n"
        card.close()
    assert_fat_is_clean(path, BOOT_AT, BOOT_SIZE)
    assert_ext4_is_clean(path, ROOT_AT)
    found = differences(stock, path)
    assert found.boot == {"fer-edge/install.sh", "user-data"}
    assert not found.root
    assert found.outside == ()


def test_differences_are_seen(stock: Path, tmp_path: Path) -> None:
    path = copy_of(stock, tmp_path)
    run_program(["mdel", "-i", f"{path}@@{BOOT_AT}", "::issue.txt"])
    run_program(["debugfs", "-w", "-R", "sif /etc/fstab mode 0100600", f"{path}?offset={ROOT_AT}"])
    with path.open("r+b") as stream:
        stream.seek(5 * MIB)
        stream.write(b"x")
    assert differences(stock, path) == Differences(frozenset({"issue.txt"}), frozenset({"etc/fstab"}), (5 * MIB,))


def test_an_image_without_the_two_says_what_was_looked_for(stock: Path, tmp_path: Path) -> None:
    path = copy_of(stock, tmp_path)
    run_program(["mdel", "-i", f"{path}@@{BOOT_AT}", "::config.txt"])
    with pytest.raises(
        InputError,
        match=r"copy\.img: not a Raspberry Pi OS image: none of its partitions "
        r"\(1: fat, 143 MB, 2: linux, 67 MB\) is a FAT with config\.txt$",
    ):
        CardImage(path)
    path = copy_of(stock, tmp_path)
    with path.open("r+b") as stream:
        stream.seek(ROOT_AT)
        stream.write(bytes(4096))
    with pytest.raises(InputError, match=r"is an ext4 with etc/os-release"):
        CardImage(path)


def test_what_cannot_be_opened_is_refused_in_one_line(stock: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello\n" * 500)
    for path, says in (
        (tmp_path / "nowhere", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty", "is empty"),
        (tmp_path / "text", "not a card image"),
        (tmp_path / "a\0b", "cannot open it"),
    ):
        with pytest.raises(InputError, match=says):
            CardImage(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_an_image_that_may_not_be_written_is_refused(stock: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(stock, tmp_path))
    path.chmod(0o444)
    with pytest.raises(OutputError, match="cannot open it: Permission denied"):
        CardImage(path, writable=True)
