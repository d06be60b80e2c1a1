"""Bookworm: systemd's own generator starts firstrun.sh as cmdline.txt says, and the machine restarts."""

from __future__ import annotations

from image_boot import first_boot as seen
from image_boot.card import Card
from image_boot.machine import Machine
from image_boot.table import Table
from systemd.unit import ensure


def check(table: Table, machine: Machine, card: Card) -> None:
    """The boot that sets up, the one that installs, and the one after it."""
    table.begin("Bookworm, firstrun.sh")
    seen.add_camera(machine)
    seen.add_dialog(machine)
    blocks = seen.blocks_of(machine)
    why = machine.console.read_text
    if not table.see("first boot", "sets up, and restarts", lambda: _set_up(machine), why):
        return
    with machine.started() as on:
        container = on.container
        if not table.see(
            "second boot", "installs, erases the secrets, reports it", lambda: seen.installed(machine, on), why
        ):
            return
        table.see("system", "as pi.toml says", lambda: seen.system(container))
        seen.all_of_it(table, machine, container, card, blocks)
    before = seen.state_of(machine)
    with machine.started() as on:
        table.see("third boot", "changes nothing", lambda: seen.unchanged(before, machine, on.container), why)


def _set_up(machine: Machine) -> str:
    with machine.started() as on:
        on.wait_for_restart()
    words = (machine.boot / "cmdline.txt").read_text().split()
    ensure(not any(word.startswith("systemd.") for word in words), "cmdline.txt still names it")
    ensure(not (machine.boot / "firstrun.sh").exists(), "firstrun.sh is still there")
    return "systemd.run= of cmdline.txt ran firstrun.sh; restarted; cmdline.txt is an ordinary one again"
