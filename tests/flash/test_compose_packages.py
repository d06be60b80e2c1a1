"""``fer-edge flash compose`` for a Raspberry Pi camera: the payload has the packages that the image lacks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.system.user_folders import cache_folder
from fer_flash.image.card_image import CardImage
from fer_flash.payload.packages.collect import PICAMERA2
from support.cards.file_systems import fat_tree, needs_programs
from support.cards.stock_images import make_stock_image
from support.processes.edge_command import fer_edge
from support.servers.apt_repository import Repository, make_deb, needs_apt, served

pytestmark = [needs_programs, needs_apt]

PI = """\
[user]
name = "ada"
[ssh]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJk4zIUBj4Gq2JpXrUD0f2eWm8yTqUyJrKkzBd3mC5N ada@here"]
"""
STATUS = "var/lib/dpkg/status"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    made = Repository(tmp_path_factory.mktemp("archive") / "archive")
    make_deb(made.pool, PICAMERA2, "0.3.31-1", depends="python3-libcamera")
    make_deb(made.pool, "python3-libcamera", "1:0.5.2+rpt~1", architecture="arm64", depends="dpkg")
    make_deb(made.pool, "libcamera-ipa", "1:0.5.2+rpt~1", architecture="arm64")
    made.publish()
    with served(made):
        yield made
    made.close()


@pytest.fixture(scope="module")
def stock(archive: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    return make_stock_image(folder, style="rpi-preseed", release="trixie", boot_mib=300, root=archive.on_image())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A separate cache for packages, with the user's wheels."""
    wheels = cache_folder() / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "wheels").symlink_to(wheels)
    return tmp_path / "cache"


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    (tmp_path / "pi.toml").write_text(PI)
    return tmp_path / "pi.toml"


def words(stock: Path, pi: Path, cache: Path, *more: object) -> tuple[object, ...]:
    out = pi.parent / "out.img"
    return ("flash", "compose", "--image", stock, "--out", out, "--config", pi, "--cache", cache, *more)


def payload_of(image: Path) -> dict[str, bytes]:
    with CardImage(image) as card, tempfile.TemporaryDirectory() as folder:
        tree = fat_tree(image, Path(folder) / "boot", card.boot.start)
    return {name.removeprefix("fer-edge/"): data for name, data in tree.items() if name.startswith("fer-edge/")}


def facts_of(payload: dict[str, bytes]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in payload["payload.conf"].decode().splitlines())


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """Assert that the command ended with ``code`` and one line with ``parts``, after lines of progress."""
    line = done.stderr.splitlines()[-1]
    assert done.returncode == code and line.startswith("fer-edge: "), done.stderr
    for part in parts:
        assert part in line


@pytest.mark.slow
def test_the_payload_carries_what_the_image_lacks(
    archive: Repository, stock: Path, pi: Path, cache: Path, tmp_path: Path
) -> None:
    done = fer_edge(*words(stock, pi, cache), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"packages  {PICAMERA2}: 3 packages with dependencies" in done.stdout
    payload = payload_of(tmp_path / "out.img")
    debs = {name: data for name, data in payload.items() if name.startswith("debs/")}
    assert {name.removeprefix("debs/"): data for name, data in debs.items()} == {
        deb.name: deb.read_bytes() for deb in archive.pool.iterdir()
    }
    sums = dict(line.split("  ")[::-1] for line in payload["SHA256SUMS"].decode().splitlines())
    for name, data in {**debs, "packages.txt": payload["packages.txt"]}.items():
        assert sums[name] == hashlib.sha256(data).hexdigest()
    assert payload["packages.txt"].decode().splitlines() == [
        "libcamera-ipa:arm64 1:0.5.2+rpt~1 libcamera-ipa_1%3a0.5.2+rpt~1_arm64.deb",
        "python3-libcamera:arm64 1:0.5.2+rpt~1 python3-libcamera_1%3a0.5.2+rpt~1_arm64.deb",
        "python3-picamera2 0.3.31-1 python3-picamera2_0.3.31-1_all.deb",
    ]
    facts = facts_of(payload)
    assert (facts["packages"], facts["packages_from"]) == (PICAMERA2, "payload") and int(facts["packages_kib"]) > 24
    # Without settings, a card's defaults determine the camera.
    settings = tomllib.loads(payload["config.toml"].decode())
    assert settings["source"]["uris"] == ["picamera2"] and settings["web"]["enabled"]
    # The next card needs no network.
    archive.requests.clear()
    again = fer_edge(*words(stock, pi, cache, "--force"), cwd=tmp_path)
    assert again.returncode == 0 and not archive.requests


@pytest.mark.slow
def test_other_cameras_and_images_that_have_it_need_nothing(
    archive: Repository, stock: Path, pi: Path, cache: Path, tmp_path: Path
) -> None:
    archive.requests.clear()
    pi.write_text(PI + '[fer_edge]\nsource = "/dev/video0"\n')
    done = fer_edge(*words(stock, pi, cache, "--dry-run"), cwd=tmp_path)
    assert done.returncode == 0 and "packages  none: the image has what the settings need" in done.stdout, done.stderr
    (tmp_path / "config.toml").write_text('[source]\nuris = ["0", "picamera2:1"]\n')
    pi.write_text(PI + '[fer_edge]\nconfig = "config.toml"\n')
    with CardImage(stock) as card:
        status = card.root.read(STATUS).decode()
    having = status + status.split("\n\n")[0].replace("base-files", PICAMERA2) + "\n\n"
    desktop = make_stock_image(tmp_path, style="rpi-preseed", release="trixie", root={STATUS: having})
    done = fer_edge(*words(desktop, pi, cache, "--dry-run"), cwd=tmp_path)
    assert done.returncode == 0 and "packages  none: the image has what the settings need" in done.stdout, done.stderr
    assert not archive.requests


@pytest.mark.parametrize("camera", ["picamera2:1", "picamera2:/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a"])
@pytest.mark.parametrize("place", ["pi.toml", "config.toml"])
def test_a_camera_that_is_named_by_number_or_id_needs_them_too(
    archive: Repository, stock: Path, pi: Path, cache: Path, tmp_path: Path, camera: str, place: str
) -> None:
    (tmp_path / "config.toml").write_text(f'[source]\nuris = ["{camera}"]\n')
    pi.write_text(
        PI
        + ("[fer_edge]\nconfig = 'config.toml'\n" if place == "config.toml" else f"[fer_edge]\nsource = '{camera}'\n")
    )
    done = fer_edge(*words(stock, pi, cache, "--dry-run", "--apt-online"), cwd=tmp_path)
    assert done.returncode == 0 and f"note      {PICAMERA2}: the Pi downloads it" in done.stdout, done.stderr


def test_a_pi_that_fetches_them_itself(archive: Repository, stock: Path, pi: Path, cache: Path, tmp_path: Path) -> None:
    archive.requests.clear()
    done = fer_edge(*words(stock, pi, cache, "--apt-online"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"note      {PICAMERA2}: the Pi downloads it at its first boot, which needs internet access" in done.stdout
    payload = payload_of(tmp_path / "out.img")
    assert not archive.requests and not [name for name in payload if name.startswith("debs/")]
    assert (facts_of(payload)["packages"], facts_of(payload)["packages_from"]) == (PICAMERA2, "network")


def test_a_boot_partition_without_room_for_them_is_refused(
    archive: Repository, pi: Path, cache: Path, tmp_path: Path
) -> None:
    full = {"filler": bytes(40 << 20)}
    cramped = make_stock_image(
        tmp_path, style="systemd", release="trixie", boot_mib=132, boot=full, root=archive.on_image()
    )
    done = fer_edge(*words(cramped, pi, cache), cwd=tmp_path)
    assert done.returncode == 2 and "no room for the payload of" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out.img").exists()


@pytest.mark.slow
def test_what_cannot_be_had_is_refused_in_one_line(
    archive: Repository, stock: Path, pi: Path, cache: Path, tmp_path: Path
) -> None:
    (folders := [tmp_path / name for name in ("bare", "stranger")])[0].mkdir()
    folders[1].mkdir()
    bare = make_stock_image(folders[0], style="rpi-preseed", release="trixie")
    other = Repository(tmp_path / "other")
    other.close()
    files = archive.on_image(other.key)
    stranger = make_stock_image(folders[1], style="rpi-preseed", release="trixie", root=files)
    for image, more, code, said in (
        (bare, (), 2, f"the image lacks {PICAMERA2}, and the image has no package sources"),
        (bare, ("--apt-online",), 2, f"the image lacks {PICAMERA2}, and the image has no package sources"),
        (stranger, (), 1, "apt: a signature is not valid"),
    ):
        done = fer_edge(*words(image, pi, cache, *more), cwd=tmp_path)
        assert_refused(done, code, said)
        assert not (tmp_path / "out.img").exists()
    # Without apt: a folder with the other programs that compose needs.
    (tools := tmp_path / "tools").mkdir()
    done = fer_edge(*words(stock, pi, cache), cwd=tmp_path, settings={"PATH": str(tools)})
    assert_refused(done, 2, "needs apt (apt-get, apt-config, dpkg-deb not found here)", "--apt-online")


def test_debs_fetches_once_and_again_when_asked(
    archive: Repository, stock: Path, cache: Path, pi: Path, tmp_path: Path
) -> None:
    command = ("flash", "debs", "--image", stock, "--cache", cache, "--work", tmp_path)
    first = fer_edge(*command, cwd=tmp_path)
    assert first.returncode == 0 and "trixie: 3 packages" in first.stdout, first.stderr
    archive.requests.clear()
    assert fer_edge(*command, cwd=tmp_path).returncode == 0 and not archive.requests
    (deb,) = cache.glob(f"debs/*/{PICAMERA2}*.deb")
    os.truncate(deb, 100)
    for words_ in (command, words(stock, pi, cache)):
        assert_refused(fer_edge(*words_, cwd=tmp_path), 1, "damaged or replaced", "fer-edge flash debs --force")
    assert fer_edge(*command, "--force", cwd=tmp_path).returncode == 0 and deb.stat().st_size > 100
