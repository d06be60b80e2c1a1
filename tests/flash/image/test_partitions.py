"""Partition tables written by sfdisk, broken ones, and files that are not images."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import InputError
from fer_flash.image.file_systems.region import Region
from fer_flash.image.partitions import Partition, read_partitions
from support.cards.file_systems import MIB, needs_programs, run_program

SIZE = 24 * MIB
SCRIPTS = {
    "mbr": "label: dos\nstart=2048, size=8192, type=c\nstart=16384, size=16384, type=83\nsize=2048, type=82\n",
    "gpt": "label: gpt\nstart=2048, size=8192, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\n"
    "start=16384, size=16384, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n"
    "size=2048, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\n",
}
BOOT = Partition(1, 2048 * 512, 8192 * 512, "fat")
ROOT = Partition(2, 16384 * 512, 16384 * 512, "linux")
SWAP_GUID = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"


def image(path: Path, content: bytes = b"", size: int | None = None) -> Path:
    with path.open("wb") as stream:
        stream.write(content)
        stream.truncate(len(content) if size is None else size)
    return path


@pytest.fixture(params=["mbr", "gpt"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = image(tmp_path / f"{request.param}.img", size=SIZE)
    run_program(["sfdisk", "--quiet", str(path)], SCRIPTS[request.param])
    return path


def partitions(path: Path) -> tuple[Partition, ...]:
    with io.FileIO(path) as stream:
        return read_partitions(Region(stream, 0, path.stat().st_size, path.name))


def spoil(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


@needs_programs
def test_partitions_are_found_as_sfdisk_wrote_them(table: Path) -> None:
    boot, root, other = partitions(table)
    assert (boot, root) == (BOOT, ROOT)
    assert (other.number, other.size) == (3, 2048 * 512)
    assert other.kind in ("0x82", SWAP_GUID)


@needs_programs
@pytest.mark.parametrize("at", [512 + 8, 512 + 72, 1024 + 40])
def test_the_second_gpt_serves_where_the_first_is_broken(tmp_path: Path, at: int) -> None:
    path = image(tmp_path / "x.img", size=SIZE)
    run_program(["sfdisk", "--quiet", str(path)], SCRIPTS["gpt"])
    spoil(path, at, b"\xaa\x55")
    assert partitions(path)[:2] == (BOOT, ROOT)
    spoil(path, SIZE - 512 + 16, b"\xaa\x55")
    with pytest.raises(InputError, match=r"^x\.img: damaged: a GPT .* checksums; use a fresh image$"):
        partitions(path)


@needs_programs
def test_an_image_that_is_cut_off_is_refused(table: Path) -> None:
    with table.open("r+b") as stream:
        stream.truncate(ROOT.start + ROOT.size - 1)
    with pytest.raises(
        InputError, match=r"partition 2 ends at byte 16777216, but the image at 16777215: it is truncated"
    ):
        partitions(table)


@needs_programs
def test_an_image_whose_second_gpt_is_cut_off_is_truncated(tmp_path: Path) -> None:
    path = image(tmp_path / "x.img", size=SIZE)
    run_program(["sfdisk", "--quiet", str(path)], SCRIPTS["gpt"])
    for size in (SIZE - 1, SIZE - 33 * 512, ROOT.start + ROOT.size + 2048 * 512):
        with path.open("r+b") as stream:
            stream.truncate(size)
        says = f"second header of its GPT ends at byte {SIZE}, but the image at {size}: it is truncated; download"
        with pytest.raises(InputError, match=says):
            partitions(path)
    with path.open("r+b") as stream:
        stream.truncate(SIZE * 2)  # as read back from a larger card
    assert partitions(path)[:2] == (BOOT, ROOT)


@needs_programs
@pytest.mark.parametrize("sector", [1024, 2048, 4096])
def test_a_gpt_with_larger_sectors_is_not_supported(tmp_path: Path, sector: int) -> None:
    path = image(tmp_path / "x.img", size=SIZE)
    run_program(["fdisk", "-b", str(sector), str(path)], "g\nn\n\n\n\nw\n")
    with pytest.raises(InputError, match=rf"^x\.img: a GPT with sectors of {sector} bytes, which is not supported: "):
        partitions(path)


@needs_programs
def test_partitions_that_overlap_are_refused(tmp_path: Path) -> None:
    path = image(tmp_path / "x.img", size=SIZE)
    run_program(["sfdisk", "--quiet", str(path)], SCRIPTS["mbr"])
    spoil(path, 446 + 16 + 8, (9000).to_bytes(4, "little"))
    with pytest.raises(InputError, match=r"damaged: partition 2 overlaps partition 1"):
        partitions(path)
    spoil(path, 446 + 8, bytes(4))
    with pytest.raises(InputError, match=r"damaged: partition 1 overlaps the partition table"):
        partitions(path)


@needs_programs
def test_a_lone_file_system_is_no_card_image(tmp_path: Path) -> None:
    path = image(tmp_path / "x.img", size=SIZE)
    run_program(["mkfs.vfat", "-F", "16", str(path)])
    with pytest.raises(InputError, match=r"^x\.img: not a card image: neither an MBR nor a GPT at its start$"):
        partitions(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello", "not a card image"),
        (b"<html>" * 1000, "not a card image"),
        (bytes(4096), "not a card image"),
        (bytes(510) + b"\x55\xaa" + bytes(4096), "not a card image"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        partitions(image(tmp_path / "x.img", content))


@given(table=st.binary(min_size=64, max_size=64), rest=st.binary(max_size=600), size=st.integers(0, 1 << 20))
def test_any_table_gives_partitions_within_the_image_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, table: bytes, rest: bytes, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.img"
    image(path, bytes(446) + table + b"\x55\xaa" + rest, size)
    try:
        found = partitions(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert found
    assert all(each.start > 0 and each.start + each.size <= size for each in found)
