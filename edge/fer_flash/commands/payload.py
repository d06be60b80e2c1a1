"""``fer-edge flash wheels`` and ``flash payload``."""

from __future__ import annotations

import argparse

from fer_flash.meter import print_line, size
from fer_flash.payload.assemble import PayloadSettings, assemble, total_bytes
from fer_flash.payload.folder import write_payload
from fer_flash.payload.releases import RELEASES
from fer_flash.payload.settings_files import may_update
from fer_flash.payload.wheels import collect, wheels_folder


def wheels(arguments: argparse.Namespace) -> int:
    """Download missing wheels and check all of them; return 0. Raises what ``collect`` raises."""
    for name in arguments.release or RELEASES:
        release, cache = RELEASES[name], arguments.cache
        found = collect(release, arguments.platform, cache=cache, force=arguments.force, report=print_line)
        total = size(sum(wheel.stat().st_size for wheel in found))
        folder = wheels_folder(release, arguments.platform, cache)
        print_line(f"{name}: {len(found)} wheels, {total}, as locked, in {folder}")
    return 0


def payload(arguments: argparse.Namespace) -> int:
    """Write a payload to a folder and return 0. Raises what ``assemble`` and ``write_payload`` raise."""
    chosen = PayloadSettings(arguments.config, arguments.bundle)
    files = assemble(
        arguments.release,
        chosen,
        arguments.cache,
        machine=arguments.platform,
        updates=may_update(chosen.config, chosen.source),
        report=print_line,
    )
    print_line(f"{len(files)} files, {size(total_bytes(files))}")
    write_payload(files, arguments.out)
    print_line(f"written to {arguments.out}; on the device, as root: sh install.sh")
    return 0
