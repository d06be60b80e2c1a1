"""Our ext4 against e2fsprogs: what mke2fs made is read, and what we write e2fsck finds clean."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_edge.errors import FerEdgeError, InputError, OutputError
from fer_flash.image.file_systems import ext4
from fer_flash.image.file_systems.ext4 import Ext4Volume
from fer_flash.image.file_systems.region import Region
from support.file_systems import MIB, assert_ext4_is_clean, debugfs, flipped, needs_programs, run_program

pytestmark = needs_programs

OFFSET = 3 * MIB
SIZE = 24 * MIB
KINDS = {
    "stock": ["-b", "4096", "-O", "^64bit,^huge_file"],  # as pi-gen makes a root
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
    """An ext4 within an image."""
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
        for number in range(400):  # each an extent of its own: more than one block of the tree
            stream.seek(number * 8192)
            stream.write(bytes([number % 255 + 1]) * 4096)
    with path.open("wb") as stream:
        stream.truncate(OFFSET + SIZE)
    where = f"offset={OFFSET},root_owner=0:0"
    options = ["-q", "-F", "-t", "ext4", "-N", "2048", *KINDS[kind], "-d", str(tree), "-E", where]
    run_program(["mke2fs", *options, str(path), f"{SIZE // 1024}k"])
    # So that folders have an index, as the kernel gives them one; it ends with 1 where it has changed something.
    run_program(["e2fsck", "-f", "-y", "-D", f"{path}?offset={OFFSET}"], codes=(0, 1))
    return path


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 of each kind. Copy it before changing it."""
    return make(tmp_path_factory.mktemp("ext4"), request.param)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One as on a stock image, for what is the same on all. Copy it before changing it."""
    return make(tmp_path_factory.mktemp("ext4"), "stock")


@pytest.fixture
def root(stock: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(stock, tmp_path / "x y.img"))


@contextmanager
def volume(path: Path, mode: str = "r+") -> Iterator[Ext4Volume]:
    with io.FileIO(path, mode) as stream:
        yield Ext4Volume(Region(stream, OFFSET, SIZE, path.name), path)


def content(path: Path, name: str, scratch: Path) -> bytes:
    """The file as debugfs reads it."""
    debugfs(path, f'dump "{name}" {scratch}', OFFSET)
    return scratch.read_bytes()


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
        with pytest.raises(InputError, match=r"etc/round: links that lead in a circle"):
            files.exists("etc/round")


def test_files_are_made_and_replaced_and_all_else_stays(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copy(made, tmp_path / "x y.img"))
    before = root.read_bytes()
    new = {
        "opt/fer-edge/payload/install.sh": b"#!/bin/sh\n",
        "opt/fer-edge/payload/wheels/a name with spaces, 'quotes' and $HOME; rm -rf ~.whl": bytes(range(256)) * 5000,
        "opt/fer-edge/payload/empty": b"",
        "lib/new": b"through a link",
        "etc/nowhere": b"through a link that led nowhere",
        "etc/größer": b"1",
    }
    with volume(root) as files:
        for name, data in new.items():
            files.write(name, data, mode=0o755 if name.endswith(".sh") else 0o644)
        files.write("etc/hostname", b"pi5\n" * 3000, mode=0o640)
        files.write("etc/os-release", b"ID=other\n")
        for name, data in new.items():
            assert files.read(name) == data
        assert files.read("usr/lib/os-release") == b"ID=other\n"
        assert files.read("usr/lib/new") == b"through a link"
    assert_ext4_is_clean(root, OFFSET)
    after = root.read_bytes()
    assert after[:OFFSET] == before[:OFFSET]
    assert after[OFFSET + SIZE :] == before[OFFSET + SIZE :]
    assert content(root, "/var/new/file", tmp_path / "out") == b"through a link that led nowhere"
    assert content(root, "/usr/bin/python3.13", tmp_path / "out") == FILES["usr/bin/python3.13"]
    for name, mode in (("opt/fer-edge/payload/install.sh", "0755"), ("etc/hostname", "0640"), ("opt/fer-edge", "0755")):
        shown = debugfs(root, f"stat /{name}", OFFSET)
        assert f"Mode:  {mode}" in shown
        assert "User:     0   Group:     0" in shown
        assert "Sat Jan  1 00:00:00 2000" in shown


def test_what_a_replaced_file_held_is_gone_from_the_image(root: Path) -> None:
    with volume(root) as files:
        files.write("etc/secret", b"hunter2 " * 2000)
        files.write("etc/secret", b"nothing")
    assert b"hunter2" not in root.read_bytes()
    assert_ext4_is_clean(root, OFFSET)


def test_a_file_of_this_machine_is_copied(root: Path, tmp_path: Path) -> None:
    source = tmp_path / 'a "name" that\ndebugfs would not take'
    source.write_bytes(bytes(range(251)) * 50_000)
    with volume(root) as files:
        free = files.free_bytes
        files.write("opt/copy", source)
        assert files.read("opt/copy") == source.read_bytes()
        assert free - files.free_bytes >= source.stat().st_size
        with pytest.raises(InputError, match="cannot read it: No such file"):
            files.write("opt/other", tmp_path / "nowhere")
    assert_ext4_is_clean(root, OFFSET)


def test_what_does_not_fit_is_refused_and_nothing_changes(root: Path) -> None:
    before = root.read_bytes()
    with (
        volume(root) as files,
        pytest.raises(OutputError, match=r"^x y\.img: opt/big: no room: it needs \d+ bytes, and"),
    ):
        files.write("opt/big", bytes(files.free_bytes))
    assert root.read_bytes() == before


def test_names_that_cannot_be_are_refused(root: Path) -> None:
    before = root.read_bytes()
    with volume(root) as files:
        for path, says in (
            ("", "is no file"),
            ("etc", "is no file"),
            ("etc/hostname/x", "above it is a file"),
            ("etc/round", "in a circle"),
            ("../x", "no path inside a card image"),
            ('a"b', "no name that debugfs could write"),
            ("a\nb", "no name that debugfs could write"),
            ("x" * 256, "no name that debugfs could write"),
        ):
            with pytest.raises(InputError, match=says):
                files.write(path, b"1")
    assert root.read_bytes() == before


def test_what_is_not_there_or_is_no_file_cannot_be_read(stock: Path) -> None:
    with volume(stock, "r") as files:
        for path, says in (("nowhere", "no such file"), ("etc", "is no file"), ("etc/nowhere", "no such file")):
            with pytest.raises(InputError, match=says):
                files.read(path)
        with pytest.raises(InputError, match="is no folder"):
            files.listdir("etc/hostname")


def test_what_was_in_use_is_refused(root: Path) -> None:
    for request in ("feature needs_recovery", "feature -needs_recovery", "set_super_value state 2"):
        run_program(["debugfs", "-w", "-R", request, f"{root}?offset={OFFSET}"])
        if request == "feature -needs_recovery":
            with volume(root, "r"):
                continue
        says = rf"was in use when it was copied .*: e2fsck -f '.*x y\.img\?offset={OFFSET}'$"
        with pytest.raises(InputError, match=says), volume(root, "r"):
            pass


def test_without_debugfs_one_line_says_what_to_install(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ext4, "MORE_FOLDERS", ())
    with volume(root) as files, pytest.raises(InputError, match=r"debugfs is not installed.* install e2fsprogs"):
        files.write("opt/x", b"1")


def test_a_debugfs_that_fails_is_not_believed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bin" / "debugfs"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'debugfs 1.47' >&2\necho 'write: Permission denied' >&2\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent) + os.pathsep + os.environ["PATH"])
    with volume(root) as files, pytest.raises(OutputError, match=r"could not write it \(write: Permission denied\)"):
        files.write("opt/x", b"1")


def test_equal_inputs_make_equal_images(root: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(root, tmp_path / "z.img"))
    for path in (root, other):
        with volume(path) as files:
            files.write("opt/a/b", bytes(range(200)) * 100)
            files.write("etc/hostname", b"pi\n")
    assert root.read_bytes() == other.read_bytes()


@given(names=st.lists(st.text(min_size=1, max_size=40).filter(lambda name: name.isprintable()), min_size=1, max_size=3))
@example(names=["<12>", "-x"])
@example(names=["~", "a\\", "$(ls) `ls` #;'*?"])
@settings(max_examples=10)
def test_any_name_is_written_or_refused(stock: Path, names: list[str]) -> None:
    path = Path(shutil.copy(stock, stock.with_name("named.img")))
    with volume(path) as files:
        for at, name in enumerate(names):
            if '"' in name or "/" in name or name in (".", "..") or len(name.encode()) > 255:
                continue
            files.write(f"opt/{at}/{name}/{name}", name.encode())
            assert files.read(f"opt/{at}/{name}/{name}") == name.encode()
            files.write(f"opt/{at}/{name}/{name}", b"2")
            assert files.listdir(f"opt/{at}/{name}") == [name]
    assert_ext4_is_clean(path, OFFSET)


@given(flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=60))
@settings(max_examples=30)
def test_a_damaged_ext4_is_read_or_refused_in_one_line(made: Path, flips: list[tuple[int, int]]) -> None:
    # The superblock, and what comes first: descriptors, inodes, folders.
    changes = {OFFSET + (1024 + at % 400 if at % 3 == 0 else at): value for at, value in flips}
    try:
        with flipped(made, changes), volume(made, "r") as files:
            for name in ("etc/os-release", "bin/python3", "holes", "etc/long"):
                if files.exists(name):
                    files.read(name)
            files.listdir("many")
    except FerEdgeError as error:
        assert "\n" not in str(error)
