"""``fer-edge flash list``: the disks of this computer, and which of them can be written as a card."""

from __future__ import annotations

import argparse
import json
import sys

from fer_edge.system.messages import aligned
from fer_flash.write.devices import BlockDevice, read_devices, refusal

_HEADER = ("device", "size", "model", "bus", "removable", "mounted", "writable target")


def run(arguments: argparse.Namespace) -> int:
    """Print the disks as a table or, with ``--json``, as ``{"devices": [...]}``; return 0 even without a card."""
    disks = [device for device in read_devices() if device.is_disk]
    if arguments.json:
        sys.stdout.write(json.dumps({"devices": [_as_json(device) for device in disks]}, indent=2) + "\n")
        return 0
    if disks:
        # The model and the mount points come from the device and may contain escape sequences, which this escapes.
        sys.stdout.write("".join(f"{line}\n" for line in aligned([_HEADER, *map(_row, disks)])))
    if not any(device.could_be_card and device.size > 0 and not device.system_mounts for device in disks):
        sys.stdout.write("no card found: insert one and run this command again\n")
    return 0


def _as_json(device: BlockDevice) -> dict[str, object]:
    reason = refusal(device)
    return {
        "device": device.path,
        "size_bytes": device.size,
        "model": device.model,
        "bus": device.bus,
        "removable": device.removable,
        "read_only": device.read_only,
        "mounted": list(device.mounted),
        "writable_target": reason is None,
        "reason": reason,
    }


def _row(device: BlockDevice) -> tuple[str, ...]:
    reason = refusal(device)
    return (
        device.path,
        f"{device.size / 1e9:.1f} GB" if device.size else "-",  # decimal units, as printed on cards
        device.model or "-",
        device.bus or "-",
        "yes" if device.removable else "no",
        ", ".join(device.mounted) or "-",
        "yes" if reason is None else f"no: {reason}",
    )
