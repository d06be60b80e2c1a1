"""Fixtures for the tests of the payload: wheels that need no index, since the target system has the others."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.model.bundle import DEFAULT_BUNDLE
from fer_flash.payload.assemble import completed
from fer_flash.payload.folder import write_payload
from fer_flash.payload.own_wheel import make_wheel
from fer_flash.payload.payload_file import PayloadFile
from support.devices.device import MakePayload, device, this_release
from support.devices.target import SETTINGS, Target
from support.servers.sshd import sshd

CARD_PAYLOAD = "/boot/firmware/fer-edge"


@pytest.fixture(scope="session")
def small_wheels(tmp_path_factory: pytest.TempPathFactory) -> list[PayloadFile]:
    """FER-Edge's own wheel and pip's."""
    folder = tmp_path_factory.mktemp("wheels")
    return [
        PayloadFile(f"wheels/{wheel.name}", wheel) for wheel in (make_wheel(n, folder) for n in ("fer-edge", "pip"))
    ]


@pytest.fixture(scope="session")
def default_model() -> list[PayloadFile]:
    """The bundle of the package, as in a payload."""
    return [PayloadFile(f"bundle/{path.name}", path) for path in sorted(DEFAULT_BUNDLE.iterdir())]


@pytest.fixture(scope="session")
def make_payload(small_wheels: list[PayloadFile], tmp_path_factory: pytest.TempPathFactory) -> MakePayload:
    """Return a function that writes a payload with ``settings`` and other files to a folder, and returns that."""

    def make(settings: str, *others: PayloadFile) -> Path:
        folder = tmp_path_factory.mktemp("payload") / "payload"
        chosen = [PayloadFile("config.toml", settings.encode()), *others]
        write_payload(completed(this_release(), platform.machine(), small_wheels, chosen), folder)
        return folder

    return make


@pytest.fixture(scope="session")
def target(
    make_payload: MakePayload, default_model: list[PayloadFile], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """A device with sshd, still without FER-Edge, and its first payload."""
    folder = tmp_path_factory.mktemp("target")
    credentials = b"[Service]\nLoadCredential=web-token:/etc/fer-edge/web-token\n"
    secrets = [
        PayloadFile("credentials.conf", credentials),
        PayloadFile("secrets/web-token", b"0123456789abcdef\n", secret=True),
        PayloadFile("secrets/key.pem", b"a key\n", secret=True),
    ]
    payload = make_payload(SETTINGS, *default_model, *secrets)
    with device(folder) as made, sshd(made, folder) as server:
        made.path("/etc/os-release").unlink()
        made.path("/etc/os-release").write_text(f"VERSION_CODENAME={this_release().name}\n")
        yield Target(made, server, payload, folder)


@pytest.fixture
def installed(target: Target) -> Target:
    """The device after its first payload, in the same state for each test."""
    if not target.current:
        # As on a card by `fer-edge flash`.
        target.device.run("mkdir", "-p", CARD_PAYLOAD)
        target.device.run("cp", "-r", target.payload / "wheels", CARD_PAYLOAD)
        done = target.deploy()
        assert done.returncode == 0, done.stdout + done.stderr
        files = [path for path in target.payload.rglob("*") if path.is_file() and path.suffix != ".whl"]
        assert f"to send: {len(files)} files" in done.stdout, "the wheels were there already"
    return target
