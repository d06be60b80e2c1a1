"""``fer-edge flash write`` on files and loop devices: refusals, the written bytes, and the messages."""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.cards.images import (
    MIB,
    as_it_is,
    gz,
    loop_device,
    used_card,
    why_no_loop_device,
    write_image,
    xz,
    zipped,
)
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge
from support.training.mini_run import assert_refused

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="writing cards needs Linux")
needs_loop = pytest.mark.skipif(why_no_loop_device() is not None, reason=str(why_no_loop_device()))
OLD = b"\xa5"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Write an image with a hole, whose size is not a multiple of a block."""
    return write_image(tmp_path / "os.img", 9 * MIB + 1234, zeros=((4 * MIB, 8 * MIB + 4096),))


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """Create a file like a used card: a FAT with a config.txt, and old data everywhere else."""
    path = tmp_path / "card"
    path.write_bytes(used_card(16 * MIB, OLD))
    return path


def write(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return fer_edge("flash", "write", *arguments, cwd=cwd)


def assert_holds(card: Path, image: Path) -> None:
    """Assert that the card contains the image, then old data, and no backup of a partition table at its end."""
    wanted, found = image.read_bytes(), card.read_bytes()
    assert found[: len(wanted)] == wanted
    assert found[-MIB:] == bytes(MIB)
    padded = -(-len(wanted) // 512) * 512
    assert set(found[padded:-MIB]) == {OLD[0]}


def test_without_yes_nothing_is_written_and_all_is_said(tmp_path: Path, image: Path, card: Path) -> None:
    before = card.read_bytes()
    done = write(image, card, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert card.read_bytes() == before
    assert done.stdout.splitlines() == [
        f"image   {image}: 9.4 MB; no SHA-256 to check",
        f"target  {card}: a file of 16.8 MB, written like a card",
        "after   read back and compared",
        f"nothing was written: add --yes to write, which erases {card}",
    ]


PACKERS = [as_it_is, xz, gz, zipped]


@pytest.mark.parametrize("packed", PACKERS)
def test_every_kind_of_image_is_written_to_a_file(
    tmp_path: Path, image: Path, card: Path, packed: Callable[[Path], Path]
) -> None:
    done = write(packed(image), card, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "9.4 MB written, read back and equal" in done.stdout
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        *[f"writing {card}"] * 2,
        *[f"comparing {card}"] * 2,
    ]
    assert_holds(card, image)


@needs_loop
@pytest.mark.parametrize("packed", [as_it_is, xz])
def test_an_image_is_written_to_a_device(
    tmp_path: Path, image: Path, card: Path, packed: Callable[[Path], Path]
) -> None:
    with loop_device(card) as device:
        done = write(packed(image), device, "--even-if-fixed", device, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "9.4 MB written, read back and equal, in" in done.stdout, "and none of it from memory"
    assert_holds(card, image)


def test_an_image_smaller_than_the_partition_tables_place_is_written_too(tmp_path: Path, card: Path) -> None:
    image = write_image(tmp_path / "os.img", 5000)
    assert write(image, card, "--yes", cwd=tmp_path).returncode == 0
    found = card.read_bytes()
    assert found[:MIB] == image.read_bytes().ljust(MIB, b"\0")


def test_not_comparing_is_said(tmp_path: Path, image: Path, card: Path) -> None:
    done = write(image, card, "--yes", "--no-verify", cwd=tmp_path)
    assert done.returncode == 0
    assert "9.4 MB written, not compared" in done.stdout
    assert len(done.stderr.splitlines()) == 2, "writing, and done"
    assert_holds(card, image)


@needs_loop
def test_what_is_no_card_is_written_only_when_named_twice(tmp_path: Path, image: Path, card: Path) -> None:
    before = card.read_bytes()
    with loop_device(card) as device:
        once = write(image, device, "--yes", cwd=tmp_path)
        assert_one_line(once, 2, "not a whole disk (type loop)", f"--even-if-fixed {device}")
        other = write(image, device, "--yes", "--even-if-fixed", "/dev/sda", cwd=tmp_path)
        assert_one_line(other, 2, "the same name twice")
        twice = write(image, device, "--even-if-fixed", device, cwd=tmp_path)
        assert (twice.returncode, twice.stderr) == (0, "")
    assert card.read_bytes() == before


@needs_loop
def test_the_disk_with_the_running_system_is_never_written(tmp_path: Path, image: Path) -> None:
    found = subprocess.run(["findmnt", "-no", "SOURCE", "/"], capture_output=True, text=True, check=False)
    root = found.stdout.strip()
    if not Path(root).is_block_device():
        pytest.skip("the root file system lies on no device that is seen here")
    done = write(image, root, "--even-if-fixed", root, cwd=tmp_path)  # without --yes, in all cases
    assert_one_line(done, 2, root, "may not be written")


@needs_loop
def test_a_mounted_partition_protects_the_whole_card(tmp_path: Path, image: Path, card: Path) -> None:
    with loop_device(card) as device:
        subprocess.run(["partx", "-a", device], check=True)
        mounted = tmp_path / "mounted"
        mounted.mkdir()
        try:
            subprocess.run(["mkfs.ext4", "-q", f"{device}p1"], check=True)
            subprocess.run(["mount", f"{device}p1", mounted], check=True)
            try:
                done = write(image, device, "--even-if-fixed", device, "--yes", cwd=tmp_path)
                part = write(image, f"{device}p1", "--even-if-fixed", f"{device}p1", "--yes", cwd=tmp_path)
            finally:
                subprocess.run(["umount", mounted], check=True)
        finally:
            subprocess.run(["partx", "-d", device], check=True)
    assert_one_line(done, 2, f"mounted at {mounted}; unmount it first")
    assert_one_line(part, 2, "not a whole disk (type part)")


@needs_loop
def test_a_device_that_another_program_holds_is_refused(tmp_path: Path, image: Path, card: Path) -> None:
    before = card.read_bytes()
    with loop_device(card) as device:
        held = os.open(device, os.O_RDWR | os.O_EXCL)
        try:
            done = write(image, device, "--even-if-fixed", device, "--yes", cwd=tmp_path)
        finally:
            os.close(held)
    assert_one_line(done, 2, f"{device}: in use")
    assert card.read_bytes() == before


@needs_loop
def test_a_write_protected_device_is_refused(tmp_path: Path, image: Path, card: Path) -> None:
    with loop_device(card) as device:
        subprocess.run(["blockdev", "--setro", device], check=True)
        done = write(image, device, "--even-if-fixed", device, "--yes", cwd=tmp_path)
        subprocess.run(["blockdev", "--setrw", device], check=True)
    assert_one_line(done, 2, "read-only")


@pytest.mark.parametrize("packed", [as_it_is, xz, zipped])
def test_a_card_too_small_is_refused_before_anything_is_written(
    tmp_path: Path, image: Path, packed: Callable[[Path], Path]
) -> None:
    card = tmp_path / "small"
    card.write_bytes(OLD * 8 * MIB)
    assert_one_line(write(packed(image), card, "--yes", cwd=tmp_path), 2, f"{card}: too small", "larger card")
    assert card.read_bytes() == OLD * 8 * MIB


def test_a_card_too_small_for_an_image_of_unknown_size_is_left_unbootable(tmp_path: Path, image: Path) -> None:
    card = tmp_path / "small"
    card.write_bytes(used_card(8 * MIB, OLD))
    assert_refused(write(gz(image), card, "--yes", cwd=tmp_path), 6, "full", "larger card", "not bootable")
    assert card.read_bytes()[:MIB] == bytes(MIB)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("missing", "No such file"),
        (".", "neither a disk nor a file"),
        ("/dev/null", "neither a disk"),
        ("os.img", "itself"),
    ],
)
def test_a_target_that_is_none_is_refused(tmp_path: Path, image: Path, target: str, words: str) -> None:
    before = image.read_bytes()
    assert_one_line(write(image, target, "--yes", cwd=tmp_path), 2, words)
    assert image.read_bytes() == before
    assert not (tmp_path / "missing").exists()


def damage(kind: str, image: Path) -> Path:
    """Write an unusable image of this ``kind``."""
    path = image.with_name(f"bad.{kind}")
    if kind == "missing.img":
        return path
    if kind == "html.img":
        path.write_text("<html>404 Not Found</html>" * 100)
    elif kind == "short.img":
        path.write_bytes(b"x")
    elif kind == "cut.img.xz":
        path.write_bytes(xz(image).read_bytes()[:-100])
    elif kind == "none.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("README.txt", "read me")
    elif kind == "two.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.img", "a")
            archive.writestr("b.IMG", "b")
    elif kind == "cut.zip":
        path.write_bytes(zipped(image).read_bytes()[:-100])
    else:
        path.write_text(f"not what {kind} says")
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "missing.img",
        "html.img",
        "short.img",
        "cut.img.xz",
        "no.xz",
        "no.gz",
        "no.zip",
        "none.zip",
        "two.zip",
        "cut.zip",
    ],
)
def test_an_image_that_is_none_is_refused_before_anything_is_written(
    tmp_path: Path, image: Path, card: Path, kind: str
) -> None:
    before = card.read_bytes()
    path = damage(kind, image)
    assert_one_line(write(path, card, "--yes", cwd=tmp_path), 2, str(path))
    assert card.read_bytes() == before


@pytest.mark.parametrize("packed", [xz, gz, zipped])
def test_an_image_that_is_damaged_in_the_middle_leaves_the_card_unbootable(
    tmp_path: Path, image: Path, card: Path, packed: Callable[[Path], Path]
) -> None:
    path = packed(image)
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 64)
    data[middle] = bytes(byte ^ 0xFF for byte in data[middle])
    path.write_bytes(data)
    assert_refused(write(path, card, "--yes", cwd=tmp_path), 2, f"{path}: damaged", "the card is not bootable")
    assert card.read_bytes()[:MIB] == bytes(MIB)


def test_a_checksum_beside_the_image_or_given_is_checked_first(tmp_path: Path, image: Path, card: Path) -> None:
    before = card.read_bytes()
    packed = xz(image)
    beside = tmp_path / "os.img.xz.sha256"
    right = hashlib.sha256(packed.read_bytes()).hexdigest()
    wrong = "0" * 64
    beside.write_text(f"{wrong}  {packed.name}\n")
    said = write(packed, card, cwd=tmp_path)
    assert f"; SHA-256 as in {beside}" in said.stdout
    assert_refused(write(packed, card, "--yes", cwd=tmp_path), 2, right, wrong, str(beside), "nothing was written")
    given = write(packed, card, "--yes", "--sha256", "f" * 64, cwd=tmp_path)
    assert_refused(given, 2, "(--sha256)", "nothing was written")
    beside.write_text(f"{right}  other.img.xz\n")
    assert_one_line(write(packed, card, "--yes", cwd=tmp_path), 2, f"no line for {packed.name}")
    assert_one_line(write(packed, card, "--yes", "--sha256", "12", cwd=tmp_path), 2, "64 hexadecimal digits")
    assert card.read_bytes() == before
    beside.write_text(f"{wrong}  other.img.xz\n{right.upper()} *{packed.name}\n")
    assert write(packed, card, "--yes", cwd=tmp_path).returncode == 0
    assert_holds(card, image)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_than_on_linux_it_says_what_to_use(platform: str) -> None:
    card = ["card", "--image", "os.img", "--config", "pi.toml", "--device", "disk2"]
    for words in (["write", "os.img", "disk2"], card):
        # Functions that Windows lacks are missing here too.
        code = (
            "import sys; from fer_edge.commands.cli import main; sys.modules['fcntl'] = None;"
            f"sys.platform = {platform!r}; sys.exit(main(['flash', *{words!r}]))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert_one_line(done, 2, "needs Linux", platform, "Raspberry Pi Imager")


def test_a_terminal_sees_one_line_that_moves(tmp_path: Path, image: Path, card: Path) -> None:
    ours, theirs = pty.openpty()
    seen = bytearray()

    def watch() -> None:
        try:
            while data := os.read(ours, 4096):
                seen.extend(data)
        except OSError:  # the other side is closed
            pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    done = subprocess.run(
        command_line("flash", "write", image, card, "--yes"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=clean_environment(),
        check=False,
    )
    os.close(theirs)
    watcher.join()
    os.close(ours)
    assert done.returncode == 0
    assert seen.count(b"\r\x1b[K") >= 2
    assert [line for line in bytes(seen).replace(b"\r\x1b[K", b"").split(b"\r\n") if b": done" not in line] == [b""]
