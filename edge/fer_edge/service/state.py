"""``fer-edge service status``: the state of the unit, from systemd and the journal."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.service.unit_environment import unit_problem
from fer_edge.system.notify import UNIT

_PROPERTIES = (
    *("LoadState", "ActiveState", "SubState", "UnitFileState", "StateChangeTimestamp", "NRestarts", "StatusText"),
    *("WatchdogUSec", "WatchdogTimestampMonotonic", "Result", "ExecMainStatus", "FragmentPath"),
)
_CONTROLLERS = Path("/sys/fs/cgroup/cgroup.controllers")
_LINES = 10


@dataclass(frozen=True, slots=True)
class ServiceState:
    """State of the unit, with texts as worded by systemd.

    Attributes:
        since: Time of the last change of state, seconds since the epoch.
        status_text: The status that the program last reported.
        watchdog: Watchdog timeout, such as ``1min 30s``; None if it is off.
        watchdog_age_s: Seconds since the last watchdog notification.
        exit_status: Exit status of the last run; 0 if the process has not ended.
        limits_memory: Whether this kernel enforces the memory limits of the unit.
        environment_problem: Why the environment of the unit does not match the system's Python, if so.
    """

    installed: bool
    active: bool
    state: str
    enabled: bool
    since: float | None
    restarts: int
    status_text: str
    watchdog: str | None
    watchdog_age_s: float | None
    result: str
    exit_status: int
    limits_memory: bool
    environment_problem: str | None = None


def read_state() -> ServiceState:
    """Query systemd. Raises InputError if it does not run."""
    properties = dict(
        line.split("=", 1)
        for line in _run("systemctl", "show", UNIT, "--timestamp=unix", f"--property={','.join(_PROPERTIES)}")
        if "=" in line
    )
    notified_us = int(properties.get("WatchdogTimestampMonotonic") or 0)
    watchdog = properties.get("WatchdogUSec", "infinity")
    since = properties.get("StateChangeTimestamp", "").removeprefix("@")
    return ServiceState(
        installed=properties.get("LoadState") not in ("not-found", None),
        active=properties.get("ActiveState") in ("active", "reloading"),
        state=f"{properties.get('ActiveState', 'unknown')} ({properties.get('SubState', 'unknown')})",
        enabled=properties.get("UnitFileState") == "enabled",
        since=float(since) if since else None,
        restarts=int(properties.get("NRestarts") or 0),
        status_text=properties.get("StatusText", ""),
        watchdog=None if watchdog in ("infinity", "0") else watchdog,
        watchdog_age_s=time.clock_gettime(time.CLOCK_MONOTONIC) - notified_us / 1e6 if notified_us else None,
        result=properties.get("Result", ""),
        exit_status=int(properties.get("ExecMainStatus") or 0),
        limits_memory=_limits_memory(),
        environment_problem=unit_problem(Path(properties["FragmentPath"])) if properties.get("FragmentPath") else None,
    )


def status(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge service status`` and return 0 if the unit is active, else 1. Raises InputError."""
    state = read_state()
    if not state.installed:
        sys.stdout.write(f"{UNIT} is not installed: fer-edge service install\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in _lines(state)))
    try:
        last = _run("journalctl", f"--unit={UNIT}", f"--lines={_LINES}", "--no-pager", "--output=short-iso")
    except InputError:  # the journal requires root or the group adm
        last = [f"no permission to read the journal: sudo journalctl -u {UNIT}"]
    sys.stdout.write("".join(f"    {line}\n" for line in last))
    return 0 if state.active else 1


def _lines(state: ServiceState) -> list[str]:
    since = "" if state.since is None else f" since {datetime.fromtimestamp(state.since, UTC):%Y-%m-%d %H:%M:%S} UTC"
    restarts = "1 restart" if state.restarts == 1 else f"{state.restarts} restarts"
    lines = [f"{UNIT}: {state.state}{since}, {restarts}"]
    if state.status_text:
        lines.append(f"status: {state.status_text}")
    if state.environment_problem is not None:
        lines.append(f"{state.environment_problem}; reinstall FER-Edge in a new environment")
    if not state.active:
        lines.append(f"last run: {state.result}, exit status {state.exit_status}")
    if state.active and state.watchdog is not None:
        age = "" if state.watchdog_age_s is None else f", last notified {state.watchdog_age_s:.0f} s ago"
        lines.append(f"watchdog: {state.watchdog}{age}")
    if not state.enabled:
        lines.append(f"it does not start at boot: systemctl enable {UNIT}")
    if not state.limits_memory:
        lines.append(
            "this kernel does not enforce memory limits and may swap out images: add cgroup_enable=memory to"
            " its command line (on Raspberry Pi OS in /boot/firmware/cmdline.txt)"
        )
    return lines


def _limits_memory() -> bool:
    try:
        return "memory" in _CONTROLLERS.read_text().split()
    except OSError:  # cgroup v1 has one folder per controller
        return (_CONTROLLERS.parent / "memory").is_dir()


def _run(*words: str) -> list[str]:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"{words[0]} cannot be run: {error.strerror}; the service requires systemd") from None
    if done.returncode:
        output = (done.stderr.strip() or "no output").splitlines()[0]
        raise InputError(f"{words[0]} failed: {output}; the service requires systemd")
    return done.stdout.splitlines()
