"""The steps `card` and `deploy`, run by the chain: a card image of a stock image, and a device behind a real sshd."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.model.bundle import file_sha256
from fer_flash.image.card_image import CardImage
from support.cards.file_systems import fat_tree, needs_programs
from support.cards.stock_images import make_stock_image
from support.data.caches import users_cache
from support.devices.device import Device, device, this_release, why_no_device
from support.devices.target import CONFIG, HOME
from support.models.bundles import copy_bundle
from support.servers.sshd import Sshd, needs_sshd, sshd
from support.training.chains import CHAIN, run, states, write_chain

PI = """\
[user]
name = "ada"
[ssh]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJk4zIUBj4Gq2JpXrUD0f2eWm8yTqUyJrKkzBd3mC5N ada@here"]
[fer_edge]
config = "config.toml"
bundle = "../out/bundle"
"""
SETTINGS = '[source]\nuris = ["demo"]\nrealtime = true\n'
PAYLOAD = "fer-edge"


@pytest.fixture
def folder(tmp_path: Path, tiny_bundle: Path) -> Iterator[Path]:
    """A chain whose bundle is there, and settings in a folder of their own."""
    write_chain(tmp_path)
    copy_bundle(tiny_bundle, tmp_path / "out" / "bundle")
    (tmp_path / "pi").mkdir()
    (tmp_path / "pi" / "config.toml").write_text(SETTINGS)
    with users_cache():  # which may contain the wheels
        yield tmp_path


def payload_on(card: Path, folder: Path) -> dict[str, bytes]:
    """Return the files of the payload on the boot partition, as read by mtools."""
    with CardImage(card) as image:
        found = fat_tree(card, folder, image.boot.start)
    return {name.removeprefix(f"{PAYLOAD}/"): data for name, data in found.items() if name.startswith(f"{PAYLOAD}/")}


@pytest.mark.slow
@needs_programs
def test_a_card_holds_the_bundle_of_the_chain_and_is_made_again_after_a_change(folder: Path) -> None:
    stock = make_stock_image(folder, style="cloudinit", release="trixie")
    (folder / "pi" / "pi.toml").write_text(PI)
    (folder / "chain.toml").write_text(f'{CHAIN}[card]\nimage = "{stock.name}"\npi = "pi/pi.toml"\n')
    card = folder / "out" / "card.img"
    first = run(folder, "--from", "card")
    assert (first.returncode, states(first)) == (0, {"card": "done"}), first.stderr
    files = payload_on(card, folder / "boot")
    assert json.loads(files["bundle/manifest.json"])["name"] == "tiny"
    assert files["bundle/int8.tflite"] == (folder / "out" / "bundle" / "int8.tflite").read_bytes()
    assert tomllib.loads(files["config.toml"].decode())["source"]["uris"] == ["demo"]

    made = card.stat().st_mtime_ns
    assert states(run(folder, "--from", "card")) == {"card": "up to date"}
    assert card.stat().st_mtime_ns == made

    (folder / "pi" / "config.toml").write_text(SETTINGS + "[detector]\nmin_face_px = 70\n")
    again = run(folder, "--from", "card")
    assert "card: changed: pi/config.toml\n" in again.stdout and states(again) == {"card": "done"}, again.stderr
    assert b"min_face_px = 70" in payload_on(card, folder / "boot-again")["config.toml"]


@pytest.fixture
def reached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Device, Sshd]]:
    """A device without FER-Edge, and its sshd."""
    place = tmp_path_factory.mktemp("device")
    with device(place) as made, sshd(made, place) as server:
        made.path("/etc/os-release").unlink()
        made.path("/etc/os-release").write_text(f"VERSION_CODENAME={this_release().name}\n")
        yield made, server


@pytest.mark.slow
@needs_sshd
@pytest.mark.skipif(bool(why_no_device()), reason=str(why_no_device()))
def test_a_device_runs_the_bundle_of_the_chain(folder: Path, reached: tuple[Device, Sshd]) -> None:
    made, server = reached
    (folder / "chain.toml").write_text(
        f'{CHAIN}[deploy]\nhost = "device"\nsettings = "pi/config.toml"\narguments = ["--ssh-config={server.config}"]\n'
    )
    first = run(folder, "--from", "deploy")
    assert (first.returncode, states(first)) == (0, {"deploy": "done"}), first.stderr
    there = made.path(f"{HOME}/current").readlink()
    weights = made.path(f"{HOME}/{there}/bundle/int8.tflite")
    assert file_sha256(weights) == file_sha256(folder / "out" / "bundle" / "int8.tflite")
    assert "demo" in made.path(CONFIG).read_text()
    assert made.path("/run/fer-edge.state").read_text() == "active\n"

    asked = len(made.asked_of_systemctl())
    assert states(run(folder, "--from", "deploy")) == {"deploy": "up to date"}
    assert len(made.asked_of_systemctl()) == asked  # the device was not contacted

    # A bundle that does not come up: the device keeps the one before, and the step is not done.
    manifest = folder / "out" / "bundle" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": "0.0.1"', '"version": "0.0.2"'))
    made.path("/run/refuse-start").touch()
    refused = run(folder, "--from", "deploy")
    assert "deploy: changed: out/bundle\n" in refused.stdout
    assert refused.returncode == 1 and states(refused)["deploy"].startswith("failed after ")
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("fer-edge:")]
    assert "failed to start" in line
    assert made.path(f"{HOME}/current").readlink() == there
    assert run(folder, "--from", "deploy", "--dry-run").stdout.startswith("deploy: not done yet\n")
