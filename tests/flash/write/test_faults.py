"""``fer-edge flash write`` on failing cards, and killed at any moment: the card is complete or clearly unbootable."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cards.faulty_card import FaultyCard, faulty_card, why_missing
from support.cards.images import MIB, loop_device, used_card, why_no_loop_device, write_image
from support.processes.edge_command import clean_environment, command_line, fer_edge
from support.training.mini_run import assert_refused

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="writing cards needs Linux"),
    pytest.mark.skipif(why_missing() is not None, reason=str(why_missing())),
]
needs_loop = pytest.mark.skipif(why_no_loop_device() is not None, reason=str(why_no_loop_device()))
UNBOOTABLE = "the card is not bootable; write it again"
CARD_BYTES = 8 * MIB
IMAGE_BYTES = 5 * MIB + 512


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_image(tmp_path / "os.img", IMAGE_BYTES)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[FaultyCard]:
    old = tmp_path / "old"
    old.write_bytes(used_card(CARD_BYTES, b"\xa5"))
    with faulty_card(tmp_path / "mount", old) as card:
        yield card


def write(image: Path, target: object, *more: object) -> subprocess.CompletedProcess[str]:
    return fer_edge("flash", "write", image, target, "--yes", *more, cwd=image.parent)


def is_whole(card: FaultyCard, image: Path) -> bool:
    """Return whether the card contains the image; if not, check that no Pi can boot from it."""
    wanted, found = image.read_bytes(), card.path.read_bytes()
    if found[: len(wanted)] == wanted:
        return True
    assert found[:4096] == bytes(4096), "neither whole nor clearly unbootable"
    return False


def test_killed_at_any_moment_the_card_is_whole_or_clearly_unbootable(card: FaultyCard, image: Path) -> None:
    old = card.path.read_bytes()
    card.set()
    assert write(image, card.path).returncode == 0
    total = card.operations()
    assert is_whole(card, image)
    # The kernel splits writes into parts, usually of 128 KiB, so that this is also within one. Those near the end are
    # decisive.
    moments = sorted({0, 1, 9, total // 2, *range(total - 4, total)})
    outcomes = {}
    for moment in moments:
        card.set()
        card.path.write_bytes(old)
        card.set(kill_at=moment)
        code = write(image, card.path).returncode
        card.set()
        if card.path.read_bytes() == old:
            outcomes[moment] = "old"
        else:
            outcomes[moment] = "whole" if is_whole(card, image) else "unbootable"
        # It may need a few parts fewer than before.
        assert (code, outcomes[moment]) == (0, "whole") or code == -signal.SIGKILL
    assert outcomes[0] == "old"
    assert {outcomes[moment] for moment in moments[1:-4]} == {"unbootable"}


@needs_loop
def test_a_bit_that_flips_is_found_and_named(card: FaultyCard, image: Path) -> None:
    for offset in (5 * MIB + 77, MIB, 70_000, 5):
        card.set(flip=offset)
        with loop_device(card.path) as device:
            done = write(image, device, "--even-if-fixed", device)
        byte = image.read_bytes()[offset]
        assert_refused(
            done, 1, f"{device}: byte {offset} reads back as {byte ^ 1:#04x}", f"has {byte:#04x}", UNBOOTABLE
        )
        card.set()
        assert card.path.read_bytes()[:4096] == bytes(4096)


def test_a_bit_that_flips_in_a_packed_image_on_a_file_is_found_too(card: FaultyCard, image: Path) -> None:
    subprocess.run(["xz", "-0", "--keep", image], check=True)
    card.set(flip=4 * MIB + 1)
    done = write(image.with_name("os.img.xz"), card.path)
    assert_refused(done, 1, f"byte {4 * MIB + 1} reads back as", UNBOOTABLE)


def test_without_comparing_a_bit_that_flips_is_not_found(card: FaultyCard, image: Path) -> None:
    card.set(flip=4 * MIB + 1)
    assert write(image, card.path, "--no-verify").returncode == 0


@needs_loop
def test_a_place_that_cannot_be_written_or_read_is_told(card: FaultyCard, image: Path) -> None:
    with loop_device(card.path) as device:
        named = ("--even-if-fixed", device)
        card.set(fail_from=3 * MIB, fail_with=errno.EIO)
        assert_refused(write(image, device, *named), 6, device, "cannot be written at byte", "another card", UNBOOTABLE)
        card.set(fail_from=3 * MIB, fail_with=errno.ENOSPC)
        assert_refused(write(image, device, *named), 6, device, "full at byte", UNBOOTABLE)
        card.set(fail_from=0, fail_with=errno.EIO)
        assert_refused(write(image, device, *named), 6, device, "the content of the card is now unknown")
        card.set(fail_sync=True)
        assert_refused(write(image, device, *named), 6, device, "cannot be written", "unknown")
        card.set(unreadable=2 * MIB)
        assert_refused(write(image, device, *named), 1, device, "cannot be read back at byte", UNBOOTABLE)
        card.set()
        assert not is_whole(card, image)


@needs_loop
def test_a_card_that_is_pulled_out_is_told(card: FaultyCard, image: Path) -> None:
    with loop_device(card.path) as device:
        card.set(delay_s=0.02)
        process = start(image, device, "--even-if-fixed", device)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("writing")
        card.set(size=0)
        subprocess.run(["losetup", "--set-capacity", device], check=True)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 6, said
    assert said.splitlines()[-1].startswith(f"fer-edge: {device}: the card was removed; insert it again"), said
    card.set()
    assert card.path.read_bytes()[:4096] == bytes(4096)


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_it_says_in_one_line_how_the_card_is_left(
    card: FaultyCard, image: Path, number: signal.Signals, code: int, word: str
) -> None:
    card.set(delay_s=0.02)
    process = start(image, card.path)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("writing")  # the old table is erased, and the new one not yet written
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert said.splitlines() == [f"fer-edge: {word}: {UNBOOTABLE}"]
    card.set()
    assert not is_whole(card, image)


def start(image: Path, target: object, *more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_line("flash", "write", image, target, "--yes", *more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )


@needs_loop
def test_a_medium_that_has_less_than_it_says_is_full(tmp_path: Path, image: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small], check=True)
    try:
        (small / "card").touch()
        os.truncate(small / "card", CARD_BYTES)
        with loop_device(small / "card") as device:
            done = write(image, device, "--even-if-fixed", device)
            start_of_card = Path(device).read_bytes()[:4096]
    finally:
        subprocess.run(["umount", small], check=True)
    assert_refused(done, 6, "full at byte", UNBOOTABLE)
    assert start_of_card == bytes(4096)
