"""``fer-edge update``: take a new version of the model from a signed repository, or return to the previous one."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fer_edge.service.install import CONFIG
from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import load_settings
from fer_edge.system.extras import require_extra
from fer_edge.system.files import write_bytes_atomically
from fer_edge.system.messages import print_text
from fer_edge.update.device import Device, device_of
from fer_edge.update.state import State


def check(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge update check`` and return the exit code. Raises FerEdgeError."""
    require_extra("update")
    from fer_edge.update.apply import check as check_now

    release = check_now(_device(arguments))
    print_text("no newer version for this device\n" if release is None else f"{release.version} is available\n")
    return 0


def apply(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge update apply`` and return the exit code. Raises FerEdgeError."""
    require_extra("update")
    from fer_edge.update.apply import apply as apply_now

    device = _device(arguments)
    state = apply_now(device, now=arguments.now, report=lambda line: print_text(f"{line}\n"))
    if state.offered is None:
        print_text("no newer version for this device\n")
    elif state.candidate is not None:
        print_text(
            f"{state.candidate} waits: fer-edge run compares it for {device.update.shadow_s:g} s, then uses it; --now"
            " does not compare\n"
        )
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge update rollback`` and return the exit code. Raises FerEdgeError."""
    require_extra("update")
    from fer_edge.update.apply import rollback as roll_back

    device = _device(arguments)
    refused = roll_back(device)
    print_text(f"{refused} is not used any more, nor taken again; in use: {_in_use(device)}\n")
    return 0


def trust(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge update trust`` and return the exit code. Raises FerEdgeError."""
    require_extra("update")
    from fer_edge.update.client import read_root

    device = _device(arguments)
    data = read_root(arguments.root)
    device.store.prepare()
    target = Path(device.update.folder) / "root.json"
    write_bytes_atomically(target, data)
    print_text(f"this device trusts what is signed under {arguments.root}; copied to {target}\n")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge update status`` and return the exit code. Raises FerEdgeError."""
    device = _device(arguments)
    state = device.store.state()
    if arguments.json:
        table: dict[str, Any] = {"version": device.store.version, "phase": state.phase, **msgspec.to_builtins(state)}
        print_text(json.dumps(table, indent=2) + "\n")
    else:
        print_text("".join(f"{line}\n" for line in _lines(device, state)))
    return 0


def _lines(device: Device, state: State) -> list[str]:
    lines = [f"in use: {_in_use(device)}" + (", on probation" if state.probation else "")]
    if state.switched_at is not None:
        lines.append(f"since: {_time(state.switched_at)}")
    if state.previous is not None:
        lines.append(f"previous: {state.previous}")
    stages = {
        "verified": "downloaded and verified",
        "checked": "passed the self-check; fer-edge run compares it next",
        "shadow": "is compared with the version in use",
    }
    if state.candidate is not None:
        lines.append(f"next: {state.candidate} {stages[state.stage]}")
    if (found := state.compared) is not None:
        lines.append(f"time of a classification: {found.new_ms:.2f} ms, before {found.old_ms:.2f} ms")
        if found.crops:
            lines.append(f"agreement: {100 * found.agreed / found.crops:.1f} % of {found.crops} faces")
    lines += [f"refused: {version}: {refusal.reason}" for version, refusal in sorted(state.refused.items())]
    lines.append(f"channel {device.update.channel} of {redacted(device.update.url or '')}, as device {device.name}")
    lines.append(f"last check: {'never' if state.checked_at is None else _time(state.checked_at)}")
    if state.problem is not None:
        lines.append(f"problem: {state.problem}")
    return lines


def _in_use(device: Device) -> str:
    return device.store.version or f"the model of the settings ({device.model.bundle or 'the one in the package'})"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _device(arguments: argparse.Namespace) -> Device:
    config = arguments.config or (Path(CONFIG) if Path(CONFIG).exists() else None)
    return device_of(load_settings(config))
