"""Errors of ``fer-edge deploy``: one line, and nothing is changed."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from fer_flash.payload.assemble import completed
from fer_flash.payload.folder import write_payload
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.releases import RELEASES
from support.devices.device import this_release, why_no_device
from support.devices.target import HOME, Target
from support.processes.edge_command import assert_one_line, fer_edge
from support.servers.sshd import needs_sshd

pytestmark = [needs_sshd, pytest.mark.skipif(bool(why_no_device()), reason=str(why_no_device()))]


def config_of(target: Target, folder: Path, **changes: str) -> Path:
    """Return ssh's settings with some of them changed."""
    lines = target.sshd.config.read_text().splitlines()
    kept = [line for line in lines if line.split()[0] not in changes]
    config = folder / "ssh_config"
    config.write_text("\n".join([*kept, *(f"{name} {value}" for name, value in changes.items())]) + "\n")
    return config


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"UserKnownHostsFile": "/dev/null"}, "its host key is unknown here"),
        ({"StrictHostKeyChecking": "no"}, "StrictHostKeyChecking off"),
        ({"StrictHostKeyChecking": "accept-new", "UserKnownHostsFile": "/dev/null"}, "accepts new host keys and keeps"),
        ({"StrictHostKeyChecking": "accept-new", "UserKnownHostsFile": "none"}, "accepts new host keys and keeps none"),
        ({"HostName": "no-such-host.invalid"}, "unknown host"),
        ({"IdentityFile": "/dev/null"}, "accepts none of these keys"),
        ({"Nonsense": "yes"}, "ssh refuses this"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_where_ssh_gives_up_there_is_one_line(
    target: Target, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    config = config_of(target, tmp_path, **changes)
    done = fer_edge("deploy", "device", "--yes", "--remove", "--ssh-config", config, cwd=tmp_path)
    assert_one_line(done, 2, "device: ", said)


def test_a_machine_with_another_key_than_the_one_known_is_refused(target: Target, tmp_path: Path) -> None:
    other = subprocess.run(["ssh-keygen", "-y", "-f", target.sshd.identity], capture_output=True, text=True, check=True)
    (known := tmp_path / "known").write_text(f"[127.0.0.1]:{target.sshd.port} {other.stdout}")
    config = config_of(target, tmp_path, UserKnownHostsFile=str(known))
    done = fer_edge("deploy", "device", "--yes", "--remove", "--ssh-config", config, cwd=tmp_path)
    assert_one_line(done, 2, "device: ", "differs from the known one")


@pytest.mark.parametrize("known", ["known hosts", "new", "new /dev/null"])
def test_new_keys_that_are_kept_may_be_accepted(target: Target, tmp_path: Path, known: str) -> None:
    (tmp_path / "known hosts").touch()
    files = f'"{tmp_path / known}"' if known == "known hosts" else f"{tmp_path}/{known}"
    config = config_of(target, tmp_path, StrictHostKeyChecking="accept-new", UserKnownHostsFile=files)
    words = ["--payload", target.payload, "--dry-run", "--ssh-config", config]
    done = fer_edge("deploy", "device", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ssh-" in (tmp_path / known.removesuffix(" /dev/null")).read_text(), "the key is kept"


def test_a_port_where_nobody_listens_is_one_line(target: Target, tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        words = ["--port", held.getsockname()[1], "--ssh-config", target.sshd.config]
        done = fer_edge("deploy", "device", "--yes", "--remove", *words, cwd=tmp_path)
    assert_one_line(done, 2, "device: connection refused")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-oProxyCommand=true"], "fer-edge deploy --help"),
        (["--", "-oProxyCommand=true"], "not a host"),
        (["device", "--purge"], "--purge requires --remove"),
        (["device"], "add --yes to confirm"),
        (["device", "--yes", "--payload", "here", "--config", "there"], "leave out --settings and --bundle"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_asked_wrongly_is_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    options = [] if "device" in words else ["--yes"]
    assert_one_line(fer_edge("deploy", *options, *words, cwd=tmp_path), 2, said)


def test_a_payload_for_another_system_is_refused(
    target: Target, small_wheels: list[PayloadFile], tmp_path: Path
) -> None:
    (other,) = (release for release in RELEASES.values() if release != this_release())
    write_payload(completed(other, "aarch64", small_wheels), tmp_path / "payload")
    done = target.deploy(payload=tmp_path / "payload")
    assert_one_line(done, 2, f"made for {other.name} on aarch64")
    # install.sh refuses it too, if it was copied by hand.
    by_hand = target.install(tmp_path / "payload")
    assert (by_hand.returncode, by_hand.stderr.count("\n")) == (1, 1)
    assert "this payload is for" in by_hand.stderr


def test_a_payload_that_is_damaged_is_refused(target: Target, tmp_path: Path) -> None:
    shutil.copytree(target.payload, tmp_path / "payload")
    with (tmp_path / "payload" / "requirements.txt").open("a") as stream:
        stream.write("\n")
    assert_one_line(target.deploy(payload=tmp_path / "payload"), 1, "requirements.txt: has changed since it was made")
    before = target.current
    by_hand = target.install(tmp_path / "payload")
    assert (by_hand.returncode, by_hand.stderr.count("\n")) == (1, 1)
    assert "requirements.txt: FAILED" in by_hand.stderr
    assert target.current == before


def test_a_device_without_room_is_refused_before_anything_is_sent(target: Target) -> None:
    made = target.device
    made.run("mkdir", "-p", HOME)
    try:
        # Too small for the unpacked wheels, and for the payload.
        assert made.run("mount", "-t", "tmpfs", "-o", "size=64k", "none", "/opt").returncode == 0
        assert_one_line(target.deploy(), 6, "device: no room in /opt: ")
        by_hand = target.install(target.payload)
        assert (by_hand.returncode, by_hand.stderr.count("\n")) == (1, 1)
        assert "no room in /opt/fer-edge" in by_hand.stderr
    finally:
        made.run("umount", "/opt")


def test_a_disk_that_fills_meanwhile_is_one_line(target: Target) -> None:
    made = target.device
    made.run("runuser", "-u", target.sshd.user, "--", "mkdir", "-p", target.staging)
    try:
        # df reports the free space of the home folder, which has more than this folder.
        assert made.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "none", target.staging).returncode == 0
        assert_one_line(target.deploy(), 6, "device: its disk is full")
    finally:
        made.run("umount", target.staging)
        made.run("rm", "-rf", target.staging)


@pytest.mark.skipif(shutil.which("sudo") is None, reason="needs sudo: apt-get install sudo")
def test_without_somebody_to_ask_sudo_must_ask_for_nothing(target: Target) -> None:
    allowed = target.device.path("/etc/sudoers.d/pi")
    rule = allowed.read_text()
    allowed.write_text("# nothing\n")
    try:
        assert_one_line(target.deploy(), 2, "sudo asks for a password")
    finally:
        allowed.write_text(rule)
