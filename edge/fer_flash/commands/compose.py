"""``fer-edge flash compose``, and the summary of a composition that it prints."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from fer_edge.errors import InputError, OutputError
from fer_edge.system.messages import printable
from fer_flash.compose import PAYLOAD_FOLDER, Composition, Sources, Stock, compose, plan
from fer_flash.first_boot.plan import MOUNTED
from fer_flash.meter import print_line, size
from fer_flash.payload.packages.collect import SystemPackages
from fer_flash.settings.pi_config import PiConfig, load_pi_config


def run(arguments: argparse.Namespace) -> int:
    """Compose the image, or with ``--dry-run`` print what it would contain. Raises FerEdgeError."""
    out: Path = arguments.out
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; give a name for the new image")
    if out.exists() and not arguments.force and not arguments.dry_run:
        raise InputError(f"{out}: already exists; --force replaces it")
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
    """Print what the image contains; of secrets, only where they are."""
    settings, system = config.settings, composition.system
    by = [f"password {'set' if config.password_hash else 'none'}", f"{len(config.ssh_keys)} SSH keys"]
    wifi, network, folder = settings.wifi, settings.network, f"{MOUNTED}/{PAYLOAD_FOLDER}"
    lines = [
        f"image     {size(composition.image_bytes)}, Raspberry Pi OS {system.release}, Python {system.python}",
        f"style     {system.style}, detected by",
        *(f"            {marker}" for marker in system.why),
        f"device    {settings.system.hostname}, {settings.system.locale}, {settings.system.timezone}",
        f"account   {settings.user.name}: {', '.join(by)}; SSH {'on' if settings.ssh.enabled else 'off'}",
        f"network   {f'{network.interface} {network.address}' if network.address else 'DHCP'}"
        + (f"; Wi-Fi {wifi.ssid} ({wifi.country}, {wifi.security})" if wifi.ssid is not None else ""),
        f"payload   {composition.payload_files} files, {size(composition.payload_bytes)}, in {folder}",
        f"            on the boot partition, where {size(composition.boot_free_bytes)} stay free",
        f"packages  {_packages(composition.packages)}",
        "first boot (on the boot partition)",
    ]
    for path, count, secret in composition.written:
        lines.append(f"            {path}, {count} bytes" + (", secret: erased after use" if secret else ""))
    lines += [f"note      {note}" for note in composition.notes]
    # A network name may contain escape sequences.
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))


def _packages(packages: SystemPackages | None) -> str:
    if packages is None:
        return "none: the image has what the settings need"
    names = " and ".join(packages.wanted)
    if packages.from_network:
        return f"{names}: downloaded at the first boot"
    total = size(sum(deb.path.stat().st_size for deb in packages.debs))
    return f"{names}: {len(packages.debs)} packages with dependencies, {total}, in the payload"
