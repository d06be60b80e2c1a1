"""``fer-edge flash card``: from a stock image and pi.toml, it writes the card that compose makes."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from support.cards.file_systems import needs_programs
from support.cards.images import used_card
from support.cards.stock_images import make_stock_image
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge

pytestmark = needs_programs


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    path = tmp_path / "pi.toml"
    path.write_text(
        '[user]\nname = "ada"\n[ssh]\nkeys = ["ssh-ed25519 '
        'AAAAC3NzaC1lZDI1NTE5AAAAIEJk4zIUBj4Gq2JpXrUD0f2eWm8yTqUyJrKkzBd3mC5N ada@here"]\n[fer_edge]\nsource = "0"\n'
    )
    return path


def digest(path: Path, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read(size)).hexdigest()


@pytest.mark.slow
def test_one_step_writes_what_two_would(pi: Path, tmp_path: Path) -> None:
    stock = make_stock_image(tmp_path, style="cloudinit", release="trixie")
    card, work = tmp_path / "card", tmp_path / "work"
    work.mkdir()
    card.write_bytes(used_card(6 << 20, os.urandom(1)))
    os.truncate(card, 300 << 20)
    arguments = ("flash", "card", "--image", stock, "--device", card, "--config", pi, "--work", work)
    held = digest(card, 300 << 20)
    dry = fer_edge(*arguments, cwd=tmp_path)
    assert dry.returncode == 0 and "nothing was written: add --yes" in dry.stdout, dry.stderr
    assert digest(card, 300 << 20) == held and list(work.iterdir()) == []
    done = fer_edge(*arguments, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "read back and equal" in done.stdout and list(work.iterdir()) == []
    out = tmp_path / "out.img"
    assert fer_edge("flash", "compose", "--image", stock, "--out", out, "--config", pi, cwd=tmp_path).returncode == 0
    assert digest(card, out.stat().st_size) == digest(out, out.stat().st_size)


def test_a_wrong_card_is_refused_before_anything_takes_long(pi: Path, tmp_path: Path) -> None:
    arguments = ("flash", "card", "--image", tmp_path / "never-read.img", "--config", pi, "--yes")
    missing = fer_edge(*arguments, "--device", "/dev/no-such-card", cwd=tmp_path)
    assert_one_line(missing, 2, "/dev/no-such-card", "flash list")
    folder = fer_edge(*arguments, "--device", tmp_path, cwd=tmp_path)
    assert_one_line(folder, 2, "neither a disk nor a file")
    (tmp_path / "card").touch()
    stock = make_stock_image(tmp_path, style="cloudinit", release="trixie")
    arguments = ("flash", "card", "--image", stock, "--config", pi, "--yes", "--device", tmp_path / "card")
    small = fer_edge(*arguments, cwd=tmp_path)
    assert_one_line(small, 2, "too small")
    os.truncate(tmp_path / "card", 300 << 20)
    work = fer_edge(*arguments, "--work", tmp_path / "no", cwd=tmp_path)
    assert_one_line(work, 6, "--work")


def test_what_a_killed_run_left_is_swept(pi: Path, tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "card").touch()
    cache = tmp_path / "cache" / "fer-edge"
    for name in (f"card-{gone.pid}-x", f"card-{os.getpid()}-y", "wheels"):
        (cache / name).mkdir(parents=True)
        (cache / name / "card.img").touch()
    (tmp_path / "stock.img").write_bytes(bytes(510) + b"\x55\xaa")
    os.truncate(tmp_path / "card", 1 << 20)
    arguments = ("--image", tmp_path / "stock.img", "--config", pi, "--device", tmp_path / "card")
    done = subprocess.run(
        command_line("flash", "card", *arguments),
        env={**clean_environment(), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert sorted(path.name for path in cache.iterdir()) == sorted([f"card-{os.getpid()}-y", "wheels"])
