"""Our ext4 reader reads file systems made by mke2fs."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import FerEdgeError, InputError
from fer_flash.image.file_systems.ext4 import Ext4Volume
from fer_flash.image.file_systems.region import Region
from support.cards.file_systems import MIB, flipped, needs_programs, run_program

pytestmark = needs_programs

OFFSET = 3 * MIB
SIZE = 24 * MIB
KINDS = {
    "stock": ["-b", "4096", "-O", "^64bit,^huge_file"],  # like a root by pi-gen
    "64bit": ["-b", "4096", "-O", "64bit,metadata_csum,orphan_file,metadata_csum_seed"],
    "small": ["-b", "1024", "-O", "^64bit,^metadata_csum", "-I", "128"],
}
FILES = {
    "usr/lib/os-release": b"ID=debian\n",
    "usr/bin/python3.13": bytes(range(256)) * 777,
    "etc/empty": b"",
    "etc/größe": "groß\n".encode(),
    "etc/hostname": b"raspberrypi\n",
}
LINKS = {
    "lib": "usr/lib",
    "bin": "/usr/bin",
    "etc/os-release": "../usr/lib/os-release",
    "usr/bin/python3": "python3.13",
    "etc/long": "./././././././././././././././././././././././././././././././.././../usr/lib/os-release",
    "etc/round": "about",
    "etc/about": "round",
    "etc/nowhere": "../var/new/file",
    "etc/up": "../../../../etc/hostname",
}


def make(folder: Path, kind: str) -> Path:
    """Return an ext4 in an image."""
    tree, path = folder / "tree", folder / "made.img"
    for name, content in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    for name, target in LINKS.items():
        (tree / name).symlink_to(target)
    (tree / "many").mkdir()
    for number in range(800):
        (tree / "many" / f"a file with the number {number:03}").touch()
    with (tree / "holes").open("wb") as stream:
        for number in range(400):  # each in a separate extent: more than one block of the extent tree
            stream.seek(number * 8192)
            stream.write(bytes([number % 255 + 1]) * 4096)
    with path.open("wb") as stream:
        stream.truncate(OFFSET + SIZE)
    where = f"offset={OFFSET},root_owner=0:0"
    options = ["-q", "-F", "-t", "ext4", "-N", "2048", *KINDS[kind], "-d", str(tree), "-E", where]
    run_program(["mke2fs", *options, str(path), f"{SIZE // 1024}k"])
    # So that folders have an index, like those of the kernel; its exit code is 1 if it has changed something.
    run_program(["e2fsck", "-f", "-y", "-D", f"{path}?offset={OFFSET}"], codes=(0, 1))
    return path


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 of each kind. Copy it before changing it."""
    return make(tmp_path_factory.mktemp("ext4"), request.param)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 as on a stock image, for tests that need only one. Copy it before changing it."""
    return make(tmp_path_factory.mktemp("ext4"), "stock")


@pytest.fixture
def root(stock: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(stock, tmp_path / "x y.img"))


@contextmanager
def volume(path: Path, mode: str = "r") -> Iterator[Ext4Volume]:
    with io.FileIO(path, mode) as stream:
        yield Ext4Volume(Region(stream, OFFSET, SIZE, path.name))


def test_what_mke2fs_wrote_is_read(made: Path) -> None:
    with volume(made, "r") as files:
        for name, expected in FILES.items():
            assert files.read(name) == expected
        assert files.listdir("") == ["bin", "etc", "holes", "lib", "lost+found", "many", "usr"]
        assert files.listdir("etc") == sorted(name[4:] for name in (*FILES, *LINKS) if name.startswith("etc/"))
        assert files.listdir("many") == [f"a file with the number {number:03}" for number in range(800)]
        assert files.read("holes") == (made.parent / "tree" / "holes").read_bytes()
        assert files.exists("")
        assert not files.exists("etc/HOSTNAME")
        assert not files.exists("etc/hostname/x")


def test_links_are_followed(made: Path) -> None:
    with volume(made, "r") as files:
        for name in ("etc/os-release", "lib/os-release", "etc/long"):
            assert files.read(name) == b"ID=debian\n"
        assert files.read("bin/python3") == FILES["usr/bin/python3.13"]
        assert files.read("etc/up") == b"raspberrypi\n"
        assert files.listdir("lib") == ["os-release"]
        assert not files.exists("etc/nowhere")
        with pytest.raises(InputError, match=r"etc/round: its links form a loop"):
            files.exists("etc/round")


def test_what_is_not_there_or_is_no_file_cannot_be_read(stock: Path) -> None:
    with volume(stock, "r") as files:
        for path, says in (("nowhere", "no such file"), ("etc", "is not a file"), ("etc/nowhere", "no such file")):
            with pytest.raises(InputError, match=says):
                files.read(path)
        with pytest.raises(InputError, match="is not a folder"):
            files.listdir("etc/hostname")


def test_what_was_in_use_is_refused(root: Path) -> None:
    for request in ("feature needs_recovery", "feature -needs_recovery", "set_super_value state 2"):
        run_program(["debugfs", "-w", "-R", request, f"{root}?offset={OFFSET}"])
        if request == "feature -needs_recovery":
            with volume(root, "r"):
                continue
        says = rf"^x y\.img: was in use when it was copied .*: e2fsck -f 'COPY\.img\?offset={OFFSET}'$"
        with pytest.raises(InputError, match=says), volume(root, "r"):
            pass


def test_bigalloc_is_read_or_called_not_supported(tmp_path: Path) -> None:
    for block in (4096, 1024):
        path = tmp_path / f"{block}.img"
        with path.open("wb") as stream:
            stream.truncate(OFFSET + SIZE)
        where = ["-E", f"offset={OFFSET}", str(path), f"{SIZE // 1024}k"]
        run_program(["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(block), "-O", "bigalloc", *where])
        if block == 4096:
            with volume(path) as files:
                assert files.listdir("") == ["lost+found"]
        else:
            says = r"1024\.img: an ext4 with bigalloc and blocks of 1024 bytes, which is not supported$"
            with pytest.raises(InputError, match=says), volume(path):
                pass


@given(flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=60))
@settings(max_examples=30)
def test_a_damaged_ext4_is_read_or_refused_in_one_line(made: Path, flips: list[tuple[int, int]]) -> None:
    # The superblock and the first structures: descriptors, inodes, folders.
    changes = {OFFSET + (1024 + at % 400 if at % 3 == 0 else at): value for at, value in flips}
    try:
        with flipped(made, changes), volume(made, "r") as files:
            for name in ("etc/os-release", "bin/python3", "holes", "etc/long"):
                if files.exists(name):
                    files.read(name)
            files.listdir("many")
    except FerEdgeError as error:
        assert "\n" not in str(error)
