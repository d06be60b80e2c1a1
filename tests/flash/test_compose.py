"""``fer-edge flash compose``: the contents of the new image, unchanged parts, and refusals."""

from __future__ import annotations

import hashlib
import lzma
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from fer_edge.errors import InputError
from fer_flash.compose import BOOT_RESERVE, CLUSTER, check_room
from fer_flash.image.card_image import CardImage
from fer_flash.settings.pi_config import wpa_key
from support.cards.differences import differences
from support.cards.file_systems import assert_ext4_is_clean, assert_fat_is_clean, fat_tree, needs_programs
from support.cards.stock_images import make_stock_image
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge
from support.processes.waiting import wait_for

pytestmark = needs_programs

PASSWORD, PASSPHRASE, TOKEN = "a password for ada", "the pass$phrase of Cafe", "token-of-sixteen-and-more"
SSID = "Café $(reboot) 'x'"
STYLES = [
    # Bookworm's wheels are downloaded for it alone.
    pytest.param(("systemd", "bookworm", "mbr"), id="systemd", marks=pytest.mark.slow),
    pytest.param(("cloudinit", "trixie", "gpt"), id="cloudinit"),
    pytest.param(("rpi-preseed", "trixie", "mbr"), id="rpi-preseed"),
]
SEEDS = {
    "systemd": {"firstrun.sh"},
    "cloudinit": {"user-data", "network-config", "meta-data"},
    "rpi-preseed": {"rpi-preseed.toml"},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pi.toml and the files that it names."""
    folder = tmp_path_factory.mktemp("settings")
    for name, secret in {"password": PASSWORD, "passphrase": PASSPHRASE, "web-token": TOKEN}.items():
        (folder / name).write_text(secret + "\n")
        (folder / name).chmod(0o600)
    (folder / "config.toml").write_text(
        '[source]\nuris = ["demo"]\n[web]\nenabled = true\ntoken_file = "web-token"\n'  # the token is a credential
    )
    (folder / "pi.toml").write_text(
        f'[user]\nname = "ada"\npassword_file = "password"\n[wifi]\nssid = "{SSID}"\ncountry = "DE"\n'
        'passphrase_file = "passphrase"\n[fer_edge]\nconfig = "config.toml"\n'
    )
    return folder


@pytest.fixture(scope="module", params=STYLES)
def composed(
    request: pytest.FixtureRequest, settings: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, Path, str]]:
    """Style, stock image, composed image, and the command's output."""
    style, release, table = request.param
    folder = tmp_path_factory.mktemp(style)
    stock = make_stock_image(folder, style=style, release=release, table=table)
    before = hashlib.sha256(stock.read_bytes()).hexdigest()
    out = folder / "out.img"
    done = fer_edge("flash", "compose", "--image", stock, "--out", out, "--config", settings / "pi.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(stock.read_bytes()).hexdigest() == before
    assert sorted(path.name for path in folder.iterdir()) == sorted([stock.name, "out.img"])
    yield style, stock, out, done.stdout + done.stderr


def boot_files(image: Path) -> dict[str, bytes]:
    """Return all files of the boot partition, as read by mtools, by path."""
    with CardImage(image) as card, tempfile.TemporaryDirectory() as folder:
        return fat_tree(image, Path(folder) / "boot", card.boot.start)


def assert_file_systems_are_clean(image: Path) -> None:
    with CardImage(image) as card:
        boot = next(each for each in card.partitions if each.start == card.boot.start)
        root = card.root.start
    assert_fat_is_clean(image, boot.start, boot.size)
    assert_ext4_is_clean(image, root)


@pytest.mark.slow
def test_all_else_is_as_it_was_and_both_file_systems_are_clean(composed: tuple[str, Path, Path, str]) -> None:
    style, stock, out, _ = composed
    found = differences(stock, out)
    assert not found.root and not found.outside
    others = {name for name in found.boot if name.partition("/")[0] != "fer-edge"}
    assert others == {"cmdline.txt", "config.txt"} | SEEDS[style]
    assert_file_systems_are_clean(out)


@pytest.mark.slow
def test_the_payload_is_whole_and_nothing_secret_is_plain(composed: tuple[str, Path, Path, str]) -> None:
    _, _, out, said = composed
    files = boot_files(out)
    for line in files["fer-edge/SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(files[f"fer-edge/{name}"]).hexdigest() == digest
    wheels = [name for name in files if name.endswith(".whl")]
    assert any("aarch64" in name and "numpy" in name for name in wheels)
    assert any("/fer_edge-" in name for name in wheels)
    assert files["fer-edge/secrets/web-token"].decode().strip() == TOKEN
    # Values of which only a hash is needed are nowhere in the image, including its free space.
    image = out.read_bytes()
    assert PASSWORD.encode() not in image and PASSPHRASE.encode() not in image
    key = wpa_key(PASSPHRASE, SSID)
    holders = {name for name, data in files.items() if key.encode() in data}
    assert holders == {"fer-edge/first-boot/settings"}
    assert image.count(key.encode()) == len(holders)
    assert image.count(TOKEN.encode()) == 1
    for secret in (PASSWORD, PASSPHRASE, TOKEN, key, "$6$"):
        assert secret not in said
    assert out.stat().st_mode & 0o077 == 0


def test_what_was_done_is_told(composed: tuple[str, Path, Path, str]) -> None:
    style, _, out, said = composed
    assert f"style     {style}, detected by" in said and "/boot/firmware/fer-edge" in said
    assert "settings, " in said and "secret: erased after use" in said
    assert f"{out} is written" in said


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stock_image(tmp_path_factory.mktemp("stock"), style="cloudinit", release="trixie")


@pytest.mark.slow
def test_a_dry_run_tells_the_same_and_leaves_nothing(stock: Path, settings: Path, tmp_path: Path) -> None:
    packed = tmp_path / "stock.img.xz"
    packed.write_bytes(lzma.compress(stock.read_bytes(), preset=0))
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    arguments = ("flash", "compose", "--config", settings / "pi.toml", "--out", tmp_path / "out.img", "--dry-run")
    for image in (("--image", stock), ("--image", packed, "--sha256", digest)):
        done = fer_edge(*arguments, *image, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "network-config" in done.stdout and "was not written" in done.stdout
        assert list(tmp_path.iterdir()) == [packed]


FULL = {"filler": bytes(40 << 20)}


def test_no_room_is_reported_with_figures(settings: Path, tmp_path: Path) -> None:
    small = make_stock_image(tmp_path, style="cloudinit", release="trixie", boot_mib=132, boot=FULL)
    out = tmp_path / "out.img"
    done = fer_edge("flash", "compose", "--image", small, "--out", out, "--config", settings / "pi.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "no room for the payload of" in done.stderr.splitlines()[-1]
    assert not out.exists() and list(tmp_path.iterdir()) == [small]


def test_the_room_for_kernel_updates_is_kept() -> None:
    sizes = [1 << 20] * 80
    assert check_room((81 << 20) + BOOT_RESERVE, sizes) == (1 << 20) + BOOT_RESERVE
    assert check_room((80 << 20) + BOOT_RESERVE, sizes) == BOOT_RESERVE
    with pytest.raises(InputError, match="no room"):
        check_room((80 << 20) + BOOT_RESERVE - 1, sizes)
    with pytest.raises(InputError, match="no room"):  # a file occupies whole clusters
        check_room((80 << 20) + BOOT_RESERVE, [*sizes[1:], (1 << 20) - CLUSTER + 1, 1])


@pytest.mark.slow
def test_what_cannot_be_composed_is_refused_in_one_line(stock: Path, settings: Path, tmp_path: Path) -> None:
    armhf = make_stock_image(tmp_path, arch="armhf")
    bare = make_stock_image(tmp_path, style=None)
    (tmp_path / "empty.img").touch()
    (tmp_path / "text.img").write_text("no image\n" * 1000)
    (tmp_path / "cut.img").write_bytes(stock.read_bytes()[: 100 << 20])
    (tmp_path / "taken.img").write_text("mine")
    pi, out = settings / "pi.toml", tmp_path / "out.img"
    for image, target, config, code, said in (
        (tmp_path / "missing.img", out, pi, 2, "missing.img"),
        (tmp_path, out, pi, 2, str(tmp_path)),
        (tmp_path / "empty.img", out, pi, 2, "is empty"),
        (tmp_path / "text.img", out, pi, 2, "not a card image"),
        (tmp_path / "cut.img", out, pi, 2, "cut"),
        (armhf, out, pi, 2, "not 64-bit"),
        (bare, out, pi, 2, "rpi-preseed"),
        ("http://127.0.0.1:9/stock.img", out, pi, 2, "sha256"),
        (stock, tmp_path / "taken.img", pi, 2, "--force"),
        (stock, tmp_path, pi, 6, "is a folder"),
        (stock, tmp_path / "no" / "out.img", pi, 6, "out.img"),
        (stock, out, tmp_path / "no.toml", 2, "no such file"),
    ):
        done = fer_edge("flash", "compose", "--image", image, "--out", target, "--config", config, cwd=tmp_path)
        assert (done.returncode, said in done.stderr.splitlines()[-1]) == (code, True), done.stderr
        assert "Traceback" not in done.stderr and ".tmp" not in done.stderr
    assert not out.exists() and (tmp_path / "taken.img").read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_image_never_goes_into_a_device(stock: Path, settings: Path, tmp_path: Path) -> None:
    """Only ``flash write`` writes to a card, after it has checked it."""
    node = tmp_path / "node"
    subprocess.run(["mknod", str(node), "c", "1", "3"], check=True)
    held = node.stat().st_mode
    done = fer_edge(
        *("flash", "compose", "--image", stock, "--out", node, "--force", "--config", settings / "pi.toml"),
        cwd=tmp_path,
    )
    assert_one_line(done, 6, "not a regular file")
    assert node.stat().st_mode == held


def test_the_stock_image_is_never_the_output(stock: Path, settings: Path, tmp_path: Path) -> None:
    (tmp_path / "link.img").symlink_to(stock)
    done = fer_edge(
        *("flash", "compose", "--image", stock, "--out", tmp_path / "link.img", "--force"),
        *("--config", settings / "pi.toml"),
        cwd=tmp_path,
    )
    assert_one_line(done, 2, "is the stock image itself")


def test_ctrl_c_leaves_nothing(settings: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "slow.img"
    os.mkfifo(pipe)
    out = tmp_path / "out.img"
    command = command_line("flash", "compose", "--image", pipe, "--out", out, "--config", settings / "pi.toml")
    process = subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE, text=True, restore_signals=True
    )
    with pipe.open("wb") as stream:
        stream.write(b"\0" * 510 + b"\x55\xaa" + bytes(1 << 20))
        stream.flush()
        wait_for(lambda: [path for path in tmp_path.iterdir() if path.name.startswith(".")])
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == [pipe]


def start_slow_compose(settings: Path, folder: Path, out: Path) -> tuple[subprocess.Popen[str], BinaryIO]:
    """Start compose from a pipe, and wait until it writes the temporary file."""
    pipe = folder / f"slow-{time.monotonic_ns()}.img"
    os.mkfifo(pipe)
    before = leftovers(folder)
    process = subprocess.Popen(
        command_line("flash", "compose", "--image", pipe, "--out", out, "--config", settings / "pi.toml", "--force"),
        cwd=folder, env=clean_environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    stream = pipe.open("wb")
    stream.write(b"\0" * 510 + b"\x55\xaa" + bytes(1 << 20))
    stream.flush()
    wait_for(lambda: any(path.stat().st_size for path in leftovers(folder) - before))
    return process, stream


def leftovers(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.name.startswith(".out.img.")}


def test_what_a_killed_run_left_is_removed_and_that_of_a_living_one_is_not(settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.img"
    killed, stream = start_slow_compose(settings, tmp_path, out)
    killed.kill()
    killed.wait()
    stream.close()
    (dead,) = leftovers(tmp_path)  # as large as a card, and only its owner may read it
    assert dead.stat().st_mode & 0o077 == 0
    (tmp_path / ".other.img.00000000.tmp.img").touch()
    living, stream = start_slow_compose(settings, tmp_path, out)
    (alive,) = leftovers(tmp_path)
    assert alive != dead
    (tmp_path / "other.img").write_bytes(b"\0" * 510 + b"\x55\xaa" + bytes(1 << 20))
    second = fer_edge(
        *("flash", "compose", "--image", tmp_path / "other.img", "--out", out, "--config", settings / "pi.toml"),
        cwd=tmp_path,
    )
    assert_one_line(second, 6, "out.img: another run is writing it")
    assert leftovers(tmp_path) == {alive} and living.poll() is None
    living.send_signal(signal.SIGINT)
    living.wait(60)
    stream.close()
    assert leftovers(tmp_path) == set()
    assert (tmp_path / ".other.img.00000000.tmp.img").exists()
