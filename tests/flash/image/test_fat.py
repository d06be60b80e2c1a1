"""Our FAT against mtools and fsck.fat: their files are read, and they read ours and find no fault."""

from __future__ import annotations

import shutil
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import FerEdgeError, InputError, OutputError
from support.cards.fat_volumes import BITS, STOCK, make_fat, volume
from support.cards.file_systems import MIB, assert_fat_is_clean, fat_tree, flipped, needs_programs, run_program

pytestmark = needs_programs


@pytest.fixture(scope="module", params=BITS, ids="FAT{}".format)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FAT that mkfs.vfat made and mtools filled. Copy it before changing it."""
    return make_fat(tmp_path_factory.mktemp("fat"), request.param)


@pytest.fixture
def fat(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "x.fat"))


def assert_mtools_agrees(path: Path, folder: Path, expected: dict[str, bytes]) -> None:
    assert_fat_is_clean(path)
    assert fat_tree(path, folder) == expected
    with volume(path, "r") as files:
        for name, content in expected.items():
            assert files.read(name) == content


def listing(path: Path) -> list[str]:
    """Return every folder as listed by mdir, with sizes and dates, without the free space."""
    return [
        line for line in run_program(["mdir", "-/", "-a", "-i", str(path), "::"]).splitlines() if "free" not in line
    ]


def test_what_mtools_wrote_is_read(made: Path, tmp_path: Path) -> None:
    assert_mtools_agrees(made, tmp_path / "tree", STOCK)
    with volume(made, "r") as files:
        assert files.listdir("") == ["CONFIG.TXT", "bcm2710-rpi-3-b.dtb", "cmdline.txt", "empty", "overlays"]
        assert files.listdir("overlays/DEEP") == ["er"]
        assert files.exists("")
        assert files.exists("Overlays/überlänge, GROß und klein.DTBO")
        assert files.exists("BCM271~1.DTB")
        assert not files.exists("overlays/ÜBERLÄNGE, GROSS UND KLEIN.DTBO")
        assert not files.exists("empty/file")


def test_files_are_made_and_replaced_and_all_else_stays(fat: Path, tmp_path: Path) -> None:
    before = fat.read_bytes()
    shown = listing(fat)
    new = {
        "user-data": b"#cloud-config\n",
        "fer-edge/wheels/numpy-2.4.0-cp313-cp313-manylinux_2_28_aarch64.whl": bytes(range(256)) * 300,
        "fer-edge/wheels/ño — 顔.whl": b"1",
        "fer-edge/secrets/empty": b"",
        "overlays/deep/er/README.TXT": b"plain short name",
    }
    with volume(fat) as files:
        for name, content in new.items():
            files.write(name, content)
        files.write("CMDLINE.TXT", b"changed " * 100)
        assert files.read("cmdline.txt") == b"changed " * 100
    assert_mtools_agrees(fat, tmp_path / "tree", {**STOCK, **new, "cmdline.txt": b"changed " * 100})
    after = fat.read_bytes()
    [reserved] = struct.unpack_from("<H", before, 14)
    head = bytearray(before[: reserved * 512])
    if len(before) == BITS[32]:
        head[512 + 488 : 512 + 492] = after[512 + 488 : 512 + 492]  # the number of free clusters
    assert after[: len(head)] == head
    kept = [line for line in shown if "cmdline" not in line and "bytes" not in line and "file" not in line]
    assert [line for line in kept if line not in listing(fat)] == []


@given(data=st.data())
@settings(max_examples=8)
def test_any_files_in_any_order(made: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = Path(shutil.copy(made, folder / "x.fat"))
    characters = st.characters(codec="utf-8", min_codepoint=33, max_codepoint=0xD7FF, exclude_categories=["C", "Z"])
    names = st.text(characters, min_size=1, max_size=30).filter(
        lambda name: name[-1] != "." and not set(name) & set('"*/:<>?\\|') and name.upper().lower() == name.lower()
    )
    pool = data.draw(st.lists(names, min_size=3, max_size=12, unique_by=str.upper))
    expected = dict(STOCK)
    with volume(path) as files:
        for _ in range(data.draw(st.integers(1, 25))):
            name = data.draw(st.sampled_from(["cmdline.txt", "empty", *(f"f/{each}" for each in pool)]))
            if data.draw(st.booleans()) and name.startswith("f/"):
                name = f"g/{name[2:]}/{name[2:]}"
            content = data.draw(st.integers(0, 3000)) * data.draw(st.binary(min_size=1, max_size=3))
            files.write(name, content)
            expected[name] = content
    assert_mtools_agrees(path, folder / "tree", expected)
    shutil.rmtree(folder)


def test_what_a_replaced_file_held_is_gone_from_the_image(fat: Path) -> None:
    with volume(fat) as files:
        files.write("secret", b"hunter2 " * 400)
        files.write("secret", b"nothing")
        files.write("long", b"hunter3 " * 400)
        files.write("long", b"short")
        assert files.free_bytes % 512 == 0
    content = fat.read_bytes()
    assert b"hunter2" not in content
    assert b"hunter3" not in content
    assert_fat_is_clean(fat)


def test_equal_inputs_make_equal_images(fat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Path(shutil.copy(fat, tmp_path / "y.fat"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for path in (fat, other):
        with volume(path) as files:
            files.write("a/b", b"1")
    assert fat.read_bytes() == other.read_bytes()
    assert "2023-11-14  22:13" in run_program(["mdir", "-i", str(fat), "::/a"])


def test_a_file_of_this_machine_is_copied(fat: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(251)) * 5000)
    with volume(fat) as files:
        files.write("copy", source)
        assert files.read("copy") == source.read_bytes()
        with pytest.raises(InputError, match=r"nowhere: cannot read it: No such file"):
            files.write("other", tmp_path / "nowhere")
    assert_fat_is_clean(fat)


def test_what_does_not_fit_is_refused_and_nothing_changes(fat: Path) -> None:
    before = fat.read_bytes()
    with volume(fat) as files:
        free = files.free_bytes
        with pytest.raises(OutputError, match=rf"^x\.fat: big: no room: it needs \d+ bytes, and {free} are free$"):
            files.write("big", bytes(free + 1))
        with pytest.raises(OutputError, match="no room"):
            files.write("new/folder/big", bytes(free))
    assert fat.read_bytes() == before
    with volume(fat) as files:
        files.write("big", bytes(free))
        assert files.free_bytes == 0
        files.write("empty2", b"")  # uses one slot
        with pytest.raises(OutputError, match="no room"):
            files.write("small", b"1")
    assert_fat_is_clean(fat)


def test_folders_grow_and_the_root_of_a_fat16_does_not(fat: Path, tmp_path: Path) -> None:
    with volume(fat) as files:
        for number in range(120):
            files.write(f"many/a rather long name, number {number}", b"1")
        if fat.stat().st_size == BITS[16]:
            with pytest.raises(OutputError, match="the root folder is full"):
                for number in range(512):
                    files.write(f"a rather long name, number {number}", b"")
    assert_fat_is_clean(fat)
    assert len(fat_tree(fat, tmp_path / "tree")) >= len(STOCK) + 120


def test_what_was_left_behind_the_end_of_a_folder_stays_hidden(fat: Path, tmp_path: Path) -> None:
    run_program(["mmd", "-i", str(fat), "::/old"])
    content = bytearray(fat.read_bytes())
    # The last one was just created by mmd.
    dots = content.rindex(b"..         \x10")
    rest = b"GHOST   TXT" + content[dots + 11 : dots + 32]
    content[dots + 64 : dots + 96] = rest
    content[dots + 96 : dots + 128] = rest
    fat.write_bytes(content)
    with volume(fat) as files:
        files.write("old/FILE", b"1")
        assert files.listdir("old") == ["FILE"]
    assert fat_tree(fat, tmp_path / "tree") == {**STOCK, "old/FILE": b"1"}


def test_names_that_cannot_be_are_refused(fat: Path) -> None:
    before = fat.read_bytes()
    with volume(fat) as files:
        for path, says in (
            ("", "not a file name"),
            ("overlays", "is a folder"),
            ("cmdline.txt/x", "above it is a file"),
            ("a/../b", "not a path inside a card image"),
            ("/a", "not a path inside a card image"),
            ("a:b", r"'a:b' is not a valid file name"),
            ("name.", "no dot or space at its end"),
            ("x" * 256, "1 to 255 characters"),
            ("\ud800", "is not a valid file name"),
        ):
            with pytest.raises(InputError, match=says):
                files.write(path, b"1")
    assert fat.read_bytes() == before


def test_what_is_not_there_or_is_no_file_cannot_be_read(made: Path) -> None:
    with volume(made, "r") as files:
        for path, says in (("nowhere", "no such file"), ("overlays", "is a folder"), ("", "is the root folder")):
            with pytest.raises(InputError, match=says):
                files.read(path)
        with pytest.raises(InputError, match="is a file, not a folder"):
            files.listdir("cmdline.txt")
        with pytest.raises(InputError, match="no such file or folder"):
            files.listdir("nowhere/there")


def test_what_was_in_use_or_is_damaged_is_not_written_to(fat: Path) -> None:
    content = fat.read_bytes()
    is_32 = len(content) == BITS[32]
    [reserved] = struct.unpack_from("<H", content, 14)
    mark = reserved * 512 + (7 if is_32 else 3)
    for at, value, says in (
        (65 if is_32 else 37, 1, "marked as not unmounted"),
        (mark, 0x07 if is_32 else 0x7F, "marked as not unmounted"),
        (reserved * 512 + 30, 0x55, "its two allocation tables differ"),
    ):
        fat.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
        with volume(fat, "r") as files:
            assert files.read("CONFIG.TXT") == STOCK["CONFIG.TXT"]
        with pytest.raises(InputError, match=says), volume(fat):
            pass


def test_one_allocation_table_may_be_in_use_alone(made: Path, tmp_path: Path) -> None:
    content = bytearray(made.read_bytes())
    if len(content) != BITS[32]:
        pytest.skip("only FAT32 records it")
    [reserved] = struct.unpack_from("<H", content, 14)
    [sectors] = struct.unpack_from("<I", content, 36)
    content[40] = 0x81  # the second one
    first = slice(reserved * 512, (reserved + sectors) * 512)
    content[first] = bytes(sectors * 512)
    path = tmp_path / "x.fat"
    path.write_bytes(content)
    with volume(path) as files:
        files.write("new", b"1" * 5000)
        for name, expected in STOCK.items():
            assert files.read(name) == expected
    after = bytearray(path.read_bytes())
    assert after[first] == bytes(sectors * 512)
    after[40] = 0  # according to fsck.fat, both are in use again
    after[first] = after[first.stop : first.stop + sectors * 512]
    path.write_bytes(after)
    assert_fat_is_clean(path)


def test_a_fat12_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.fat"
    path.write_bytes(bytes(MIB))
    run_program(["mkfs.vfat", "-F", "12", str(path)])
    with pytest.raises(InputError, match="a FAT12"), volume(path, "r"):
        pass


@given(flips=st.lists(st.tuples(st.integers(0, 70_000), st.integers(0, 255)), min_size=1, max_size=40))
@settings(max_examples=30)
def test_a_damaged_fat_is_read_or_refused_in_one_line(made: Path, flips: list[tuple[int, int]]) -> None:
    # The boot sector, the first entries of the table and the folders matter.
    changes = {at if at % 3 else at % 512: value for at, value in flips}
    try:
        with flipped(made, changes), volume(made, "r") as files:
            for name in files.listdir(""):
                if name.isprintable():
                    _ = files.listdir(name) if name == "overlays" else files.read(name)
    except FerEdgeError as error:
        assert "\n" not in str(error)


def test_a_hundred_megabytes_are_a_matter_of_seconds(tmp_path: Path) -> None:
    path = tmp_path / "x.fat"
    with path.open("wb") as stream:
        stream.truncate(160 * MIB)
    run_program(["mkfs.vfat", "-F", "32", "-s", "4", str(path)])
    payload = tmp_path / "payload"
    payload.write_bytes(b"0123456789abcdef" * (100_000_000 // 16))
    with volume(path) as files:
        start = time.monotonic()
        files.write("fer-edge/payload", payload)
        took = time.monotonic() - start
        assert files.read("fer-edge/payload") == payload.read_bytes()
    assert took < 20  # about 0.3 s on an idle machine
    assert_fat_is_clean(path)
