"""``fer-edge flash wheels`` and ``flash payload``."""

from __future__ import annotations

import argparse

from fer_flash.lines import tell
from fer_flash.meter import size
from fer_flash.payload import PayloadSettings, assemble, total_bytes
from fer_flash.payload_folder import write_payload
from fer_flash.releases import RELEASES
from fer_flash.wheels import collect, wheels_folder


def wheels(arguments: argparse.Namespace) -> int:
    """Fetch what is missing, and hold all to the lock; a line for each release. Raises what ``collect`` raises."""
    for name in arguments.release or RELEASES:
        release, cache = RELEASES[name], arguments.cache
        found = collect(release, arguments.platform, cache=cache, force=arguments.force, tell=tell)
        total = size(sum(wheel.stat().st_size for wheel in found))
        folder = wheels_folder(release, arguments.platform, cache)
        tell(f"{name}: {len(found)} wheels, {total}, as locked, in {folder}")
    return 0


def payload(arguments: argparse.Namespace) -> int:
    """Write a payload to a folder. Raises what ``assemble`` and ``write_payload`` raise."""
    chosen = PayloadSettings(arguments.config, arguments.bundle)
    files = assemble(arguments.release, chosen, arguments.cache, machine=arguments.platform, tell=tell)
    tell(f"{len(files)} files, {size(total_bytes(files))}")
    write_payload(files, arguments.out)
    tell(f"written to {arguments.out}; on the device, as root: sh install.sh")
    return 0
