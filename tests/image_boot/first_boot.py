"""A first boot, and the checks of the machine after it, the same for every style."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from fer_flash.first_boot.plan import REPORT
from image_boot.card import HOSTNAME, LOCALE, PASSPHRASE, SSID, TIMEZONE, TOKEN, USER, Card
from image_boot.machine import Machine, Started
from image_boot.table import Table
from systemd.container import Container, is_up, wait_for
from systemd.faults import ended_by_watchdog, started_again
from systemd.unit import CONFIG, EVENTS, UNIT, Service, ensure

HOME = "/opt/fer-edge/current"
PROGRAM = f"{HOME}/bin/fer-edge"
FIRST_BOOT = "fer-edge-first-boot.service"
STATE = "/var/lib/fer-edge-first-boot"
_INSTALL_S = 900.0
_CAMERA = f"""\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart={HOME}/bin/python3 /mnt/camera.py 8090
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
_DIALOG = """\
[Service]
Type=oneshot
ExecStart=sleep infinity
[Install]
WantedBy=multi-user.target
"""
"""RPi-Distro/userconf-pi, debian/userconf-pi.userconfig.service: a oneshot without a time limit."""
_WATCHDOG_S = 10
"""The unit's limit in the test; the program extends it as far as its settings need."""
_ASK_PAGE = """\
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen
for token in ({}, {"Authorization": f"Bearer {sys.argv[1]}"}):
    try:
        print(urlopen(Request("http://127.0.0.1:8080/metrics", headers=token)).status)
    except HTTPError as error:
        print(error.code)
"""


def add_camera(machine: Machine) -> None:
    """Add a camera's web server that replays the demo scene, using the packages of the payload."""
    wants = machine.written / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (machine.written / "etc/systemd/system/camera.service").write_text(_CAMERA)
    (wants / "camera.service").symlink_to("/etc/systemd/system/camera.service")


def add_dialog(machine: Machine) -> None:
    """Add userconf-pi's dialog for an account, as on Raspberry Pi OS; it is never answered."""
    units = machine.written / "usr/lib/systemd/system"
    units.mkdir(parents=True, exist_ok=True)
    (units / "userconfig.service").write_text(_DIALOG)
    wants = machine.written / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "userconfig.service").symlink_to("/usr/lib/systemd/system/userconfig.service")


def installed(machine: Machine, on: Started) -> str:
    """Wait for the report of the first boot, and check it."""
    began = time.monotonic()
    path = machine.boot / REPORT
    wait_for(path.exists, "the report of the first boot", _INSTALL_S)
    report = path.read_text()
    ensure("install: done\nscrub: done" in report, " / ".join(report.splitlines()))
    # The report may be from an earlier boot, and systemd may not listen yet.
    wait_for(lambda: on.container.run("systemctl", "is-active", "basic.target").stdout.strip() == "active", "systemd")
    wait_for(lambda: Service(on.container).ask("ActiveState") == "active", "the service")
    wait_for(lambda: _state(on.container, FIRST_BOOT) != "activating", f"the end of {FIRST_BOOT}")
    ensure(_state(on.container, FIRST_BOOT) != "failed", f"{FIRST_BOOT} failed")
    return f"report on the boot partition after {time.monotonic() - began:.0f} s: {'; '.join(report.splitlines()[1:3])}"


def all_of_it(table: Table, machine: Machine, container: Container, card: Card, blocks: Path) -> None:
    """Check an installed Pi of any style; add a row for each check.

    ``system`` is separate: with rpi-preseed, that program makes these settings.
    """
    table.see("network", "none is needed", lambda: offline(container))
    table.see("account", "as pi.toml says", lambda: account(container, card))
    table.see("Wi-Fi", "as pi.toml says", lambda: network(container))
    table.see("card life", "hardware watchdog on, journal bounded", lambda: care(container))
    table.see("service", "watches and tells events", lambda: watching(container), machine.console.read_text)
    table.see("its secrets", "readable for it alone", lambda: secrets_arrived(container))
    table.see("doctor", "finds nothing bad", lambda: doctor(container))
    table.see("killed; hanging", "active again", lambda: survives(container))
    table.see("secrets", "nowhere on the boot partition", lambda: secrets_gone(machine, card, container, blocks))


def offline(container: Container) -> str:
    """Check what was installed, and that it can only have come from the card."""
    links = [line.split(": ")[1] for line in container.must("ip", "-oneline", "link").splitlines()]
    ensure(links == ["lo"], f"interfaces: {links}")
    release = container.must("readlink", HOME).strip()
    ensure(release.startswith("releases/"), release)
    version = container.must(PROGRAM, "--version").strip()
    python = container.must(f"{HOME}/bin/python3", "--version").strip()
    return f"no network interface but lo; {version}, {python}, /opt/fer-edge/{release}"


def account(container: Container, card: Card) -> str:
    """Check account, password's hash, key, and the logins that sshd accepts."""
    fields = container.must("getent", "shadow", USER).split(":")
    ensure(fields[1].encode() in card.secrets, "the password's hash is another than on the card")
    groups = container.must("id", "--name", "--groups", USER).split()
    ensure({"sudo", "video"} <= set(groups), str(groups))
    wait_for(lambda: container.run("systemctl", "is-active", "ssh").stdout.strip() == "active", "sshd")
    taken = container.must("sshd", "-T").splitlines()
    for wanted in ("passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no"):
        ensure(wanted in taken, f"sshd: no {wanted!r}")
    container.must("install", "-m", "600", "/mnt/key", "/root/key")
    options = ["-i", "/root/key", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
    name = container.must("ssh", *options, f"{USER}@127.0.0.1", "id", "-un").strip()
    ensure(name == USER, name)
    refused = container.run("ssh", *options, "-o", "PubkeyAuthentication=no", f"{USER}@127.0.0.1", "true")
    ensure("Permission denied (publickey)" in refused.stderr, refused.stderr)
    container.must("rm", "-r", "/root/key", "/root/.ssh")
    return "hash as on the card; SSH accepts the key, no password, and not root"


def system(container: Container) -> str:
    """Check names, language and time."""
    name = container.must("hostname").strip()
    ensure(name == HOSTNAME == container.must("cat", "/etc/hostname").strip(), name)
    ensure(HOSTNAME in container.must("getent", "hosts", "127.0.1.1"), "it does not know its own name")
    locales = container.must("locale", "-a").split()
    ensure(LOCALE.replace("UTF-8", "utf8") in locales, str(locales))
    ensure(f"LANG={LOCALE}" in container.must("cat", "/etc/default/locale"), "LANG is another")
    ensure(container.must("readlink", "/etc/localtime").strip().endswith(TIMEZONE), "the time zone is another")
    ensure('XKBLAYOUT="de"' in container.must("cat", "/etc/default/keyboard"), "the keyboard is another")
    return f"{name}, {LOCALE}, {TIMEZONE}"


def network(container: Container) -> str:
    """Ask NetworkManager for the wireless network's profile."""
    wait_for(lambda: container.run("nmcli", "general").returncode == 0, "NetworkManager")

    def wireless() -> str | None:
        lines = container.must("nmcli", "--get-values=UUID,TYPE", "connection").split()
        return next((line.partition(":")[0] for line in lines if line.endswith("wireless")), None)

    wifi = wait_for(wireless, "a wireless network in NetworkManager's list", 60)
    asked = ["nmcli", "--show-secrets", "--escape=no", "--get-values=802-11-wireless.ssid,802-11-wireless-security.psk"]

    def answer() -> list[str] | None:
        # On a busy machine, the first answer after the start once had another passphrase, probably none.
        lines = container.must(*asked, "connection", "show", wifi).splitlines()
        return lines if all(lines) else None

    ssid, key = wait_for(answer, "the passphrase of the wireless network", 60)
    ensure((ssid, key) == (SSID, PASSPHRASE), f"{ssid!r} with another passphrase")
    return f"NetworkManager has {ssid!r} and its passphrase"


def care(container: Container) -> str:
    """Check the hardware watchdog and the limits of the journal."""
    watchdog = container.must("systemctl", "show", "--value", "--property=RuntimeWatchdogUSec").strip()
    ensure(watchdog == "15s", f"RuntimeWatchdogSec is {watchdog}")
    journal = container.must("systemd-analyze", "cat-config", "systemd/journald.conf")
    ensure("\nSystemMaxUse=64M" in journal, "the journal has no bound")
    return "RuntimeWatchdogSec=15s is in force, the journal's bound 64 MiB is set"


def watching(container: Container) -> str:
    """Check the unit and its events."""
    service = Service(container)
    ensure(service.ask("Type") == "notify" and service.ask("UnitFileState") == "enabled", "not as it should be")
    service.wait_until_watching()
    told = wait_for(lambda: [line for line in _events(container) if line["kind"] == "appeared"], "a face")
    return (
        f"active, {service.ask('StatusText')}; {len(_events(container))} events, a face appeared: {told[0]['emotion']}"
    )


def secrets_arrived(container: Container) -> str:
    """Check that only the service can read the page's token, which was among the payload's secrets."""
    answers = container.must(f"{HOME}/bin/python3", "-c", _ASK_PAGE, TOKEN).split()
    ensure(answers == ["401", "200"], f"the page answers {answers}")
    mode = container.must("stat", "--format=%a %U", "/etc/fer-edge/web-token").strip()
    ensure(mode == "600 root", mode)
    return "401 without the token, 200 with it"


def doctor(container: Container) -> str:
    """Run ``fer-edge doctor`` as the service's user."""
    asked = container.run("runuser", "-u", "fer-edge", "--", PROGRAM, "doctor", "--json", "--config", CONFIG)
    checks = {check["name"]: check for check in json.loads(asked.stdout)["checks"]}
    bad = [f"{name}: {check['seen']}" for name, check in checks.items() if check["verdict"] == "bad"]
    ensure(not bad and asked.returncode == 0, f"exit {asked.returncode}: {'; '.join(bad)}")
    fine = [name for name, check in checks.items() if check["verdict"] == "ok"]
    return f"exit 0; ok: {', '.join(fine)}; unit: {checks['unit']['seen']}"


def survives(container: Container) -> str:
    """Kill the program, then let it hang until the watchdog ends it."""
    service = Service(container)
    killed_s, lines = started_again(container, service)
    own = service.ask("WatchdogUSec")
    drop_in = f"/run/systemd/system/{UNIT}.d/shorter.conf"
    container.write(drop_in, f"[Service]\nWatchdogSec={_WATCHDOG_S}\n")
    container.must("systemctl", "daemon-reload")
    container.must("systemctl", "restart", UNIT)
    service.wait_until_watching()
    shorter = service.ask("WatchdogUSec")
    hung_s = ended_by_watchdog(container, service, lambda pid: service.signal("STOP"))
    container.must("rm", drop_in)
    container.must("systemctl", "daemon-reload")
    container.must("systemctl", "restart", UNIT)
    killed = f"SIGKILL: active again after {killed_s:.1f} s, {lines} events, all whole"
    hung = f"SIGSTOP: ended by the watchdog ({shorter} for the test, {own} before), active again after {hung_s:.0f} s"
    return f"{killed}; {hung}"


def blocks_of(machine: Machine) -> Path:
    """Link the files of the boot partition, to distinguish overwritten files from files that are only removed."""
    folder = machine.aside
    for number, path in enumerate(_files(machine.boot)):
        os.link(path, folder / f"{number}-{path.name}")
    os.sync()
    return folder


def secrets_gone(machine: Machine, card: Card, container: Container, blocks: Path) -> str:
    """Check that no secret is on the boot partition or in logs, and that only root can read it elsewhere."""
    on_boot = list(_files(machine.boot))
    for place, what in ((on_boot, "lies"), (list(_files(blocks)), "was removed, not overwritten:")):
        for path in place:
            ensure(not _holds(path, card.secrets), f"a secret {what} in {path.name}")
    journal = container.must("journalctl", "--output=export").encode()
    console = machine.console.read_bytes()
    ensure(not any(secret in text for secret in card.secrets for text in (journal, console)), "a secret in the journal")
    keepers = {path for path in _files(machine.written) if _holds(path, card.secrets)}
    for path in keepers:
        inside = path.relative_to(machine.written)
        ways = [machine.written / parent for parent in inside.parents]
        open_to_others = path.stat().st_mode & stat.S_IROTH and all(way.stat().st_mode & stat.S_IXOTH for way in ways)
        ensure(not open_to_others, f"others may read a secret in /{inside}")
        ensure(inside.parts[:2] != ("var", "log"), f"a secret in /{inside}")
    names = ", ".join(sorted(f"/{path.relative_to(machine.written)}" for path in keepers))
    size = sum(path.stat().st_size for path in on_boot)
    seen = f"none in {len(on_boot)} files, {size / 1e6:.0f} MB, nor in what was removed, journal and console"
    return f"{seen}; closed to others: {names}"


def state_of(machine: Machine) -> dict[str, str]:
    """Return a hash of each file of the boot partition, /etc, /opt and /home, by path."""
    found = {f"boot/{path.relative_to(machine.boot)}": _hash(path) for path in _files(machine.boot)}
    for name in ("etc", "opt", "home"):
        for path in _files(machine.written / name):
            if "__pycache__" not in path.parts:
                found[str(path.relative_to(machine.written))] = _hash(path)
    return found


def unchanged(before: dict[str, str], machine: Machine, container: Container) -> str:
    """Check that a second boot changes nothing."""
    wait_for(lambda: is_up(container), "the end of the boot")
    failed = container.must("systemctl", "--failed", "--no-legend", "--plain")
    ensure(not failed, f"failed: {failed}")
    service = Service(container)
    service.wait_until_watching()
    after = state_of(machine)
    other = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    ensure(not other, f"changed: {', '.join(other)[:400]}")
    # cloud-init uses its copy of user-data, so setup.sh runs again and reports that everything is set up.
    journal = container.must("journalctl", "--boot", "--output=cat")
    for said in ("first boot: set up (", "first boot: installing", "fer-edge install:"):
        ensure(said not in journal, f"it set up again: {said!r} in the journal")
    ensure(service.restarts == 0, "the service was started again")
    return f"{len(before)} files of the boot partition, /etc, /opt and /home as they were; no unit failed; watching"


def _events(container: Container) -> list[dict[str, object]]:
    lines = container.run("cat", EVENTS).stdout.splitlines()
    return [json.loads(line) for line in lines]


def _state(container: Container, unit: str) -> str:
    return container.must("systemctl", "show", "--value", "--property=ActiveState", unit).strip()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _holds(path: Path, secrets: tuple[bytes, ...]) -> bool:
    data = path.read_bytes()
    return any(secret in data for secret in secrets)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
