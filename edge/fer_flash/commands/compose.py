"""``fer-edge flash compose``, and what a person is shown of a composition."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from fer_edge.errors import InputError, OutputError
from fer_edge.system.one_line import printable
from fer_flash.compose import PAYLOAD_FOLDER, Composition, Sources, Stock, compose, plan
from fer_flash.first_boot.plan import MOUNTED
from fer_flash.meter import print_line, size
from fer_flash.payload.packages import SystemPackages
from fer_flash.settings.pi_config import PiConfig, load_pi_config


def run(arguments: argparse.Namespace) -> int:
    """Compose the image, or with ``--dry-run`` tell what it would be. Raises FerEdgeError."""
    out: Path = arguments.out
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; give the new image's name")
    if out.exists() and not arguments.force and not arguments.dry_run:
        raise InputError(f"{out}: is there already; --force replaces it")
    config = load_pi_config(arguments.config)
    stock = Stock(arguments.image, arguments.sha256)
    sources = Sources(arguments.cache, arguments.apt_online)
    if arguments.dry_run:
        folder = out.absolute().parent
        show(plan(stock, folder, config, sources=sources, report=print_line), config)
        print_line(f"dry run: {out} was not written")
        return 0
    show(compose(stock, out, config, sources=sources, report=print_line), config)
    print_line(f"{out} is written. Next: fer-edge flash write {shlex.quote(str(out))} DEVICE")
    return 0


def show(composition: Composition, config: PiConfig) -> None:
    """Print what is in the image; of secrets, where they are and never what."""
    settings, system = config.settings, composition.system
    by = [f"password {'set' if config.password_hash else 'none'}", f"{len(config.ssh_keys)} SSH keys"]
    wifi, network = settings.wifi, settings.network
    lines = [
        f"image     {size(composition.image_bytes)}, Raspberry Pi OS {system.release}, Python {system.python}",
        f"style     {system.style}, told by",
        *(f"            {marker}" for marker in system.why),
        f"device    {settings.system.hostname}, {settings.system.locale}, {settings.system.timezone}",
        f"account   {settings.user.name}: {', '.join(by)}; SSH {'on' if settings.ssh.enabled else 'off'}",
        f"network   {f'{network.interface} {network.address}' if network.address else 'DHCP'}"
        + (f"; Wi-Fi {wifi.ssid} ({wifi.country}, {wifi.security})" if wifi.ssid is not None else ""),
        f"payload   {composition.payload_files} files, {size(composition.payload_bytes)}, in {MOUNTED}/{PAYLOAD_FOLDER}",
        f"            on the boot partition, where {size(composition.boot_free_bytes)} stay free",
        f"packages  {_packages(composition.packages)}",
        "first boot (on the boot partition)",
    ]
    for path, count, secret in composition.written:
        lines.append(f"            {path}, {count} bytes" + (", secret: scrubbed after use" if secret else ""))
    lines += [f"note      {note}" for note in composition.notes]
    # A network may be called anything, escape sequences too.
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))


def _packages(packages: SystemPackages | None) -> str:
    if packages is None:
        return "the image has what the settings need"
    names = " and ".join(packages.wanted)
    if packages.from_network:
        return f"{names}: fetched from the network at the first boot"
    total = size(sum(deb.path.stat().st_size for deb in packages.debs))
    return f"{names}: with what it needs {len(packages.debs)} packages, {total}, in the payload"
