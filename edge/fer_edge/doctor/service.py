"""Checks of the service: files with secrets, and the systemd unit."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

from fer_edge.doctor.checks import Context, Finding, access_advice, bad, ok, skipped, warn
from fer_edge.errors import ConfigError
from fer_edge.service.state import unit_problem
from fer_edge.settings.secret_files import is_for_the_service_alone, read_private, read_secret
from fer_edge.system.notify import UNIT

_PROPERTIES = "LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,StatusText,FragmentPath"


def check_secrets(context: Context) -> Finding:
    """Check that files with secrets, and settings with a password in a URL, are readable by their owner only."""
    settings = context.settings
    names = {
        "mqtt.password_file": settings.mqtt.password_file,
        "mqtt.key_file": settings.mqtt.key_file,
        "webhook.token_file": settings.webhook.token_file,
        "web.token_file": settings.web.token_file,
    }
    readable = []
    for key, name in names.items():
        if name is None:
            continue
        if is_for_the_service_alone(name):
            readable.append(f"{key} is a systemd credential: only the service can read it")
            continue
        try:
            # A key has several lines, which ``read_secret`` does not accept.
            read_private(Path(name), key) if key == "mqtt.key_file" else read_secret(name, key)
        except ConfigError as error:
            message, _, fix = str(error).partition(": chmod")
            return bad(message, f"chmod{fix}" if fix else access_advice(Path(name)))
        readable.append(f"{key} is readable by its owner only")
    with_password = [uri for uri in (*settings.uris, settings.webhook.url or "") if "@" in uri and "://" in uri]
    if with_password and context.config is not None and _others_may_read(context.config):
        return warn(
            f"other users can read {context.config}, which contains a password in a URL", f"chmod o-r {context.config}"
        )
    return ok(", ".join(readable)) if readable else skipped("no secrets configured")


def check_unit(context: Context) -> Finding:
    """Check the state of the systemd unit, if installed."""
    if shutil.which("systemctl") is None or not (context.root / "run" / "systemd" / "system").is_dir():
        return skipped("systemd is not running")
    done = subprocess.run(
        ["systemctl", "show", UNIT, f"--property={_PROPERTIES}"],
        capture_output=True,
        text=True,
        timeout=context.timeout_s,
        check=False,
    )
    state = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    if done.returncode != 0 or not state:
        return warn(f"systemctl failed: {done.stderr.strip() or done.returncode}", f"systemctl status {UNIT}")
    problem = unit_problem(Path(state.get("FragmentPath", "")))
    if problem is not None:
        return bad(problem, "reinstall FER-Edge in a new environment, then run fer-edge service install")
    return unit_finding(state)


def unit_finding(state: dict[str, str]) -> Finding:
    """Return the finding for the properties printed by ``systemctl show``."""
    if state.get("LoadState") == "not-found":
        return skipped(f"{UNIT} is not installed")
    if state.get("LoadState") != "loaded":
        return bad(f"{UNIT} is {state.get('LoadState')}", f"systemd-analyze verify {UNIT}")
    active, restarts = state.get("ActiveState", "unknown"), state.get("NRestarts", "0")
    seen = f"{active} ({state.get('SubState', 'unknown')}), {state.get('UnitFileState') or 'not enabled'}"
    if state.get("StatusText") and active == "active":  # otherwise outdated
        seen += f": {state['StatusText']}"
    if active == "failed":
        return bad(f"{seen}; {state.get('Result', 'unknown')}", f"journalctl -u {UNIT} -n 50")
    if active not in ("active", "reloading"):
        return warn(seen, f"sudo systemctl enable --now {UNIT}")
    if restarts != "0":
        return warn(f"{seen}, restarted {restarts} times", f"journalctl -u {UNIT} -n 200")
    return ok(seen)


def _others_may_read(path: Path) -> bool:
    # Not S_IRGRP: the service reads the settings through its group.
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
