"""The power fails in the middle of the first boot: unsynced writes are lost, and the next boot continues."""

from __future__ import annotations

from collections.abc import Callable

from fer_flash.first_boot.plan import REPORT
from image_boot import first_boot as seen
from image_boot.card import Card
from image_boot.machine import Machine
from image_boot.table import Table
from systemd.container import wait_for
from systemd.unit import ensure

_LAST = "when all is installed, about the scrub"


def check(table: Table, machine: Machine, card: Card) -> None:
    """Cut the power four times, then boot to the end."""
    table.begin("Trixie, cloud-init: the power fails")
    seen.add_camera(machine)
    state = machine.written / seen.STATE.lstrip("/")
    releases = machine.written / "opt/fer-edge/releases"
    moments: dict[str, Callable[[], bool]] = {
        "while setup.sh runs": (state / "style").exists,
        "after setup.sh, while cloud-init continues": (state / "set-up").exists,
        "while pip unpacks": lambda: any(releases.glob("*/lib/python3*/site-packages/cv2/*")),
        _LAST: (state / "installed").exists,
    }
    blocks = seen.blocks_of(machine)
    why = machine.console.read_text
    for name, come in moments.items():
        # These moments are hundredths of a second apart: the last cut may come while secrets are erased, or later.
        late = name == _LAST
        table.see(name, "the next boot continues", lambda come=come, late=late: _cut(machine, come, late), why)  # type: ignore[misc]
    with machine.started() as on:
        container = on.container
        if not table.see("the boot after these", "comes to the end", lambda: seen.installed(machine, on), why):
            return
        table.see("account", "as pi.toml says", lambda: seen.account(container, card))
        table.see("system", "as pi.toml says", lambda: seen.system(container))
        table.see("service", "watches and tells events", lambda: seen.watching(container), why)
        table.see(
            "secrets", "nowhere on the boot partition", lambda: seen.secrets_gone(machine, card, container, blocks)
        )


def _cut(machine: Machine, come: Callable[[], bool], may_be_late: bool) -> str:
    with machine.started() as on:
        wait_for(come, "that moment", 600)
        on.lose_power()
    report = machine.boot / REPORT
    ensure(may_be_late or not report.exists(), "too late: the report was there")
    there = [
        name
        for name in ("style", "set-up", "attempts", "installed")
        if (machine.written / seen.STATE.lstrip("/") / name).exists()
    ]
    when = "cut, after the scrub" if report.exists() else "cut"
    return f"{when}; on the disk of the state: {', '.join(there) or 'nothing'}"
