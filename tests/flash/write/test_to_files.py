"""``fer-edge flash write`` onto regular files: those that are in use, and those with other content."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from support.cards.images import MIB, loop_device, partition_table, used_card, why_no_loop_device, write_image
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="writing cards needs Linux")
needs_loop = pytest.mark.skipif(why_no_loop_device() is not None, reason=str(why_no_loop_device()))
CARD_BYTES = 8 * MIB


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_image(tmp_path / "os.img", 5 * MIB + 512)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "a card"  # /proc writes the blank as \040
    path.write_bytes(used_card(CARD_BYTES, b"\xa5"))
    return path


def write(image: Path, target: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return fer_edge("flash", "write", image, target, "--yes", *more, cwd=image.parent)


@needs_loop
@pytest.mark.parametrize("how", ["by its name", "by a hard link", "by a symbolic link", "under a name that is gone"])
def test_a_file_that_a_loop_device_stands_on_is_never_written(
    tmp_path: Path, image: Path, card: Path, how: str
) -> None:
    attached = tmp_path / "attached"
    target = card
    if how == "by a symbolic link":
        target = attached
        target.symlink_to(card)
    elif how != "by its name":
        os.link(card, attached)
        target, card = card, attached
    before = card.read_bytes()
    with loop_device(card) as device:
        if how == "under a name that is gone":
            card.unlink()
        once = write(image, target)
        twice = write(image, target, "--even-if-fixed", target)
    for done in (once, twice):
        assert_one_line(done, 2, f"{target}: may not be written", f"the content of {device}", f"losetup -d {device}")
    assert target.read_bytes() == before
    assert write(image, target).returncode == 0


@needs_loop
def test_the_file_below_a_mounted_file_system_is_never_written(tmp_path: Path, image: Path) -> None:
    disk, mounted = tmp_path / "disk", tmp_path / "mounted"
    mounted.mkdir()
    with disk.open("wb") as stream:
        stream.truncate(CARD_BYTES)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, mounted], check=True)
    try:
        (mounted / "letter").write_text("dear Ada")
        os.sync()
        before = disk.read_bytes()
        done = write(image, disk, "--even-if-fixed", disk)
        assert disk.read_bytes() == before
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert_one_line(done, 2, f"{disk}: may not be written", "the content of /dev/loop")


@needs_loop
def test_a_file_in_use_as_swap_is_never_written(image: Path, card: Path) -> None:
    card.write_bytes(bytes(CARD_BYTES))
    card.chmod(0o600)
    subprocess.run(["mkswap", card], check=True, capture_output=True)
    on = subprocess.run(["swapon", card], capture_output=True, text=True, check=False)
    if on.returncode:
        pytest.skip(f"no swap here: {on.stderr.strip()}")
    try:
        done = write(image, card, "--even-if-fixed", card)
    finally:
        subprocess.run(["swapoff", card], check=True)
    assert_one_line(done, 2, f"{card}: may not be written", "swap")


@pytest.mark.parametrize("kind", ["bytes", "a disk with a table", "a file system", "an erased card"])
def test_other_content_is_replaced_only_when_named_twice(image: Path, card: Path, kind: str) -> None:
    content = {
        "bytes": b"\xa5" * CARD_BYTES,
        "a disk with a table": partition_table([(2048, 4096)]).ljust(CARD_BYTES, b"\xa5"),
        "a file system": bytes(MIB) + used_card(CARD_BYTES, b"\xa5")[MIB:],
        "an erased card": bytes(MIB).ljust(CARD_BYTES, b"\xa5"),
    }[kind]
    card.write_bytes(content)
    for arguments in (["--yes"], []):
        once = fer_edge("flash", "write", image, card, *arguments, cwd=image.parent)
        assert_one_line(once, 2, f"{card}: may not be written", "not a card image", f"--even-if-fixed {card}")
        assert card.read_bytes() == content
    assert write(image, card, "--even-if-fixed", card).returncode == 0
    assert card.read_bytes()[: 5 * MIB + 512] == image.read_bytes()


def test_a_card_that_does_not_boot_says_so_before_anything_is_composed(image: Path, card: Path) -> None:
    card.write_bytes(b"\xa5" * CARD_BYTES)
    settings = image.with_name("pi.toml")
    settings.write_text(
        '[user]\nname = "ada"\n[ssh]\nkeys = ["ssh-ed25519 '
        'AAAAC3NzaC1lZDI1NTE5AAAAIEJk4zIUBj4Gq2JpXrUD0f2eWm8yTqUyJrKkzBd3mC5N ada@here"]\n[fer_edge]\nsource = "0"\n'
    )
    done = fer_edge("flash", "card", "--image", image, "--device", card, "--config", settings, cwd=image.parent)
    assert_one_line(done, 2, f"{card}: may not be written", "not a card image", f"--even-if-fixed {card}")


def test_a_new_file_of_a_size_is_written_at_once(image: Path, card: Path) -> None:
    card.unlink()
    with card.open("wb") as stream:
        stream.truncate(CARD_BYTES)
    assert write(image, card).returncode == 0
    assert card.read_bytes()[: 5 * MIB + 512] == image.read_bytes()


@pytest.mark.parametrize("lock", ["flock", "qemu"])
def test_a_file_that_another_program_has_locked_is_not_written(image: Path, card: Path, lock: str) -> None:
    before = card.read_bytes()
    with card.open("r+b") as held:
        if lock == "flock":
            fcntl.flock(held, fcntl.LOCK_SH)
        else:  # like QEMU's locks on the disk of a running machine: shared locks on bytes from 100 (block/file-posix.c)
            fcntl.fcntl(held, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 4, 0))
        done = write(image, card)
    assert_one_line(done, 2, f"{card}: in use: another program has locked it")
    assert card.read_bytes() == before


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_a_file_is_locked_while_it_is_written(image: Path, card: Path) -> None:
    os.truncate(image, 256 * MIB)  # so long that it cannot end before it is stopped
    os.truncate(card, 260 * MIB)
    writing = subprocess.Popen(
        command_line("flash", "write", image, card, "--yes", "--no-verify"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    assert writing.stderr is not None
    assert writing.stderr.readline().startswith("writing")
    os.kill(writing.pid, 19)  # SIGSTOP: while it writes
    try:
        refused = subprocess.run(["flock", "-n", card, "true"], check=False)
        other = write(image, card, "--even-if-fixed", card)
    finally:
        os.kill(writing.pid, 18)
    _, said = writing.communicate(timeout=60)
    assert writing.returncode == 0, said
    assert refused.returncode == 1
    assert_one_line(other, 2, f"{card}: in use")
    assert subprocess.run(["flock", "-n", card, "true"], check=False).returncode == 0
