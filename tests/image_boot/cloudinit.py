"""Trixie: Debian's own cloud-init reads the seed that compose wrote."""

from __future__ import annotations

import json

from image_boot import first_boot as seen
from image_boot.card import Card
from image_boot.machine import Machine
from image_boot.table import Table
from systemd.container import Container, wait_for
from systemd.unit import ensure


def check(table: Table, machine: Machine, card: Card) -> None:
    """The first boot and the second one."""
    table.begin("Trixie, cloud-init")
    seen.add_camera(machine)
    seen.add_dialog(machine)
    blocks = seen.blocks_of(machine)
    with machine.started() as on:
        container = on.container
        why = machine.console.read_text
        if not table.see(
            "first boot", "installs, erases the secrets, reports it", lambda: seen.installed(machine, on), why
        ):
            return
        table.see("cloud-init", "takes the seed without a complaint", lambda: _status(container), why)
        table.see("system", "as pi.toml says", lambda: seen.system(container))
        seen.all_of_it(table, machine, container, card, blocks)
    before = seen.state_of(machine)
    with machine.started() as on:
        container = on.container
        table.see("second boot", "changes nothing", lambda: seen.unchanged(before, machine, container), why)
        table.see("cloud-init again", "knows that it is done", lambda: _status(container), why)
        table.see("Wi-Fi again", "still there", lambda: seen.network(container))


def _status(container: Container) -> str:
    def ended() -> dict[str, object] | None:
        told: dict[str, object] = json.loads(container.run("cloud-init", "status", "--format=json").stdout)
        return told if told["status"] in ("done", "error", "disabled") else None

    told = wait_for(ended, "cloud-init's end")
    trouble = {"errors": told["errors"], "recoverable_errors": told["recoverable_errors"]}
    ensure(told["status"] == "done" and not any(trouble.values()), f"{told['status']}: {trouble}")
    version = container.must("cloud-init", "--version").strip()
    return f"{version}: {told['status']}, {told['detail']}"
