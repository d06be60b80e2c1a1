"""``install.sh`` at a first boot, ``fer-edge deploy`` to a card of ``fer-edge flash``, and removed files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from support.devices.device import why_no_device
from support.devices.target import CONFIG, HOME, Target
from support.processes.waiting import wait_for
from support.servers.sshd import needs_sshd

pytestmark = [needs_sshd, pytest.mark.skipif(bool(why_no_device()), reason=str(why_no_device()))]

STATE = "/var/lib/fer-edge-first-boot"
CARD = "/boot/firmware/fer-edge"
REPORT = "/boot/firmware/fer-edge-first-boot.txt"
KEPT = "/etc/systemd/system.conf.d/90-fer-edge.conf"


def test_the_first_boot_starts_nothing_that_would_be_waited_for(target: Target) -> None:
    asked = len(target.device.asked_of_systemctl())
    done = target.install(target.payload, "--first-boot")
    assert done.returncode == 0, done.stderr
    words = [line.split() for line in target.device.asked_of_systemctl()[asked:]]
    assert [line for line in words if {"start", "restart", "stop"} & set(line)] == [
        ["start", "--no-block", "fer-edge.service"]
    ]
    assert ["--root=/", "enable", "fer-edge.service"] in words


@pytest.mark.slow
def test_a_first_boot_tells_of_a_service_that_does_not_come_up_and_leaves_it(target: Target) -> None:
    refuse = target.device.path("/run/refuse-start")
    refuse.touch()
    target.device.run("rm", "-rf", HOME)
    target.device.path("/run/fer-edge.state").write_text("inactive\n")
    failed = target.install(target.payload, "--first-boot")
    refuse.unlink()
    assert failed.returncode == 1 and "fer-edge.service is failed after " in failed.stderr
    assert target.device.path("/etc/systemd/system/fer-edge.service").exists()  # it may start at the next boot
    assert not target.device.path(f"{HOME}/{target.current}/.proven").exists()
    assert target.install(target.payload, "--first-boot").returncode == 0
    assert target.state == "active" and target.device.path(f"{HOME}/{target.current}/.proven").exists()


@pytest.fixture
def card(installed: Target) -> Iterator[Path]:
    """Return the files of the boot partition after a failed first boot, before the next attempt."""
    made = installed.device
    for folder in (STATE, f"{CARD}/secrets", Path(KEPT).parent):
        made.run("mkdir", "-p", folder)
    first_boot = files("fer_flash").joinpath("first_boot", "scripts", "first-boot.sh").read_text()
    made.path(f"{STATE}/first-boot.sh").write_text(first_boot)
    for name, text in {"style": "systemd", "attempts": "1", "set-up": "", "settings-scrubbed": ""}.items():
        made.path(f"{STATE}/{name}").write_text(text)
    made.path(f"{CARD}/install.sh").write_text("touch /run/old-payload\n")
    made.path(f"{CARD}/secrets/token").write_text("0123456789abcdef\n")
    made.path(KEPT).write_text("[Manager]\n")
    yield made.path(CARD)
    made.run("rm", "-rf", STATE, CARD, REPORT, KEPT)


@pytest.mark.slow
def test_the_payload_of_the_card_has_had_its_turn_after_a_deploy(installed: Target, card: Path) -> None:
    done = installed.deploy()
    assert (done.returncode, done.stderr) == (0, "")
    made = installed.device
    assert made.asked_of_systemctl()[-1] == "--no-block start fer-edge-first-boot.service"  # which can take long
    assert not (card / "secrets/token").exists() and "install: done\nscrub: done" in made.path(REPORT).read_text()
    assert made.run("sh", f"{STATE}/first-boot.sh").returncode == 0  # the next boot, if `done` did not exist
    assert not made.path("/run/old-payload").exists() and made.path(f"{STATE}/done").exists()


def test_what_a_killed_run_left_of_secrets_goes_at_the_next_start(installed: Target) -> None:
    made = installed.device
    secret, settings = f"{installed.staging}/secrets/token", f"{installed.staging}/config.toml"
    made.run("runuser", "-u", installed.sshd.user, "--", "mkdir", "-p", f"{installed.staging}/secrets")
    made.path(secret).write_text("0123456789abcdef\n")
    made.path(settings).write_text("# a password of a camera\n")
    sums = made.path(f"{installed.staging}/SHA256SUMS")
    listed = sums.read_text()
    sums.write_text("".join(line for line in listed.splitlines(True) if "config.toml" not in line))
    command = made.command("flock", "--no-fork", f"{HOME}/.lock", "sleep", "60")
    with subprocess.Popen(command) as at_work:  # an install.sh that still needs it
        wait_for(lambda: made.run("flock", "-n", f"{HOME}/.lock", "true").returncode)
        assert installed.deploy("--dry-run").returncode == 0 and made.path(secret).exists()
        at_work.terminate()
    wait_for(lambda: not made.run("flock", "-n", f"{HOME}/.lock", "true").returncode)
    assert installed.deploy("--dry-run").returncode == 0
    assert not made.path(secret).exists() and not made.path(settings).exists()
    sums.write_text(listed)


def test_a_card_is_no_more_than_a_card_after_a_removal(installed: Target, card: Path) -> None:
    (card / "medium").hardlink_to(card / "secrets/token")
    (medium := card.parent / "medium").hardlink_to(card / "medium")
    (card / "medium").unlink()
    done = installed.deploy("--remove")
    assert (done.returncode, done.stderr) == (0, "")
    assert not card.exists() and set(medium.read_bytes()) == {0}
    for path in (STATE, REPORT, HOME, "/etc/systemd/system/fer-edge-first-boot.service"):
        assert not installed.device.path(path).exists(), path
    assert "disable fer-edge-first-boot.service" in installed.device.asked_of_systemctl()
    assert not installed.device.path("/run/old-payload").exists()
    assert f"kept: {KEPT}" in done.stdout


@pytest.mark.slow
def test_what_is_removed_is_gone_and_settings_stay(installed: Target) -> None:
    done = installed.deploy("--remove")
    assert (done.returncode, done.stderr) == (0, "")
    made = installed.device
    assert not made.path(HOME).exists() and made.path(CONFIG).exists()
    assert not made.path("/etc/systemd/system/fer-edge.service").exists()
    assert "disable --now fer-edge.service" in made.asked_of_systemctl()
    again = installed.deploy("--remove", "--purge")
    assert (again.returncode, again.stderr) == (0, "")
    assert not made.path("/etc/fer-edge").exists() and made.run("getent", "passwd", "fer-edge").returncode
