"""Trixie with rpi-preseed, which is not in Debian: the test does its steps before our command."""

from __future__ import annotations

import shlex
import tomllib

from image_boot import first_boot as seen
from image_boot.card import USER, Card
from image_boot.machine import Machine
from image_boot.system import FIRST_ACCOUNT
from image_boot.table import Table

_SERVICE = """\
[Unit]
Before=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=30
{commands}
[Install]
WantedBy=multi-user.target
"""
"""As in raspberrypi/rpi-preseed: systemd/rpi-preseed-runcmd-early.service, src/apply/runcmd.sh."""


def check(table: Table, machine: Machine, card: Card) -> None:
    """The first boot."""
    table.begin("Trixie, rpi-preseed (a stand-in runs its runcmd.early)")
    _stand_in(machine)
    seen.add_camera(machine)
    seen.add_dialog(machine)
    blocks = seen.blocks_of(machine)
    why = machine.console.read_text
    with machine.started() as on:
        container = on.container
        if not table.see(
            "first boot", "installs, erases the secrets, reports it", lambda: seen.installed(machine, on), why
        ):
            return
        seen.all_of_it(table, machine, container, card, blocks)


def _stand_in(machine: Machine) -> None:
    etc = machine.written / "etc"
    (etc / "cloud").mkdir(parents=True)
    (etc / "cloud/cloud-init.disabled").touch()
    wanted = tomllib.loads((machine.boot / "rpi-preseed.toml").read_text())
    early, seconds = wanted["runcmd"]["early"], wanted["runcmd"]["early_cmd_timeout"]
    renamed = (
        f"usermod --login {USER} --move-home --home /home/{USER} {FIRST_ACCOUNT} && groupmod -n {USER} {FIRST_ACCOUNT}"
    )
    commands = [f"/bin/sh -c {shlex.quote(renamed)}"]
    commands += [f"/usr/bin/timeout {seconds} /bin/sh -c {shlex.quote(command)}" for command in early]
    units = etc / "systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    (units / "rpi-preseed-runcmd-early.service").write_text(
        _SERVICE.format(commands="\n".join(f"ExecStart={command}" for command in commands))
    )
    (units / "multi-user.target.wants/rpi-preseed-runcmd-early.service").symlink_to(
        "/etc/systemd/system/rpi-preseed-runcmd-early.service"
    )
