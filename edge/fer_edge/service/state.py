"""The state of the service by systemd and the journal: ``fer-edge service status``."""

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
    """What systemd knows of the unit, in its own words.

    ``since`` is seconds since the epoch, ``watchdog`` its time (``1min 30s``), None where it is off; ``fed_s`` are the
    seconds since it was fed. ``exit_status`` is how the process ended last, 0 while it has not. ``limits_memory`` is
    whether this kernel can hold the unit to its limits of memory. ``environment_problem`` is why the unit's environment
    no longer fits the system's Python.
    """

    installed: bool
    active: bool
    state: str
    enabled: bool
    since: float | None
    restarts: int
    says: str
    watchdog: str | None
    fed_s: float | None
    result: str
    exit_status: int
    limits_memory: bool
    environment_problem: str | None = None


def read_state() -> ServiceState:
    """Ask systemd. Raises InputError where there is none."""
    told = dict(
        line.split("=", 1)
        for line in _ask("systemctl", "show", UNIT, "--timestamp=unix", f"--property={','.join(_PROPERTIES)}")
        if "=" in line
    )
    fed_us = int(told.get("WatchdogTimestampMonotonic") or 0)
    watchdog = told.get("WatchdogUSec", "infinity")
    since = told.get("StateChangeTimestamp", "").removeprefix("@")
    return ServiceState(
        installed=told.get("LoadState") not in ("not-found", None),
        active=told.get("ActiveState") in ("active", "reloading"),
        state=f"{told.get('ActiveState', 'unknown')} ({told.get('SubState', 'unknown')})",
        enabled=told.get("UnitFileState") == "enabled",
        since=float(since) if since else None,
        restarts=int(told.get("NRestarts") or 0),
        says=told.get("StatusText", ""),
        watchdog=None if watchdog in ("infinity", "0") else watchdog,
        fed_s=time.clock_gettime(time.CLOCK_MONOTONIC) - fed_us / 1e6 if fed_us else None,
        result=told.get("Result", ""),
        exit_status=int(told.get("ExecMainStatus") or 0),
        limits_memory=_limits_memory(),
        environment_problem=unit_problem(Path(told["FragmentPath"])) if told.get("FragmentPath") else None,
    )


def status(arguments: argparse.Namespace) -> int:
    """Carry out ``fer-edge service status``: 0 when it is active, else 1. Raises InputError."""
    state = read_state()
    if not state.installed:
        sys.stdout.write(f"{UNIT} is not installed: fer-edge service install\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in _lines(state)))
    try:
        last = _ask("journalctl", f"--unit={UNIT}", f"--lines={_LINES}", "--no-pager", "--output=short-iso")
    except InputError:  # who is not in group adm may not read it
        last = [f"its last lines are for others to read: sudo journalctl -u {UNIT}"]
    sys.stdout.write("".join(f"    {line}\n" for line in last))
    return 0 if state.active else 1


def _lines(state: ServiceState) -> list[str]:
    since = "" if state.since is None else f" since {datetime.fromtimestamp(state.since, UTC):%Y-%m-%d %H:%M:%S} UTC"
    restarts = "1 restart" if state.restarts == 1 else f"{state.restarts} restarts"
    lines = [f"{UNIT}: {state.state}{since}, {restarts}"]
    if state.says:
        lines.append(f"it says: {state.says}")
    if state.environment_problem is not None:
        lines.append(f"{state.environment_problem}; install FER-Edge again, in a new environment")
    if not state.active:
        lines.append(f"the last run ended: {state.result}, exit {state.exit_status}")
    if state.active and state.watchdog is not None:
        fed = "" if state.fed_s is None else f", last fed {state.fed_s:.0f} s ago"
        lines.append(f"watchdog: {state.watchdog}{fed}")
    if not state.enabled:
        lines.append(f"it does not start with this machine: systemctl enable {UNIT}")
    if not state.limits_memory:
        lines.append(
            "this kernel does not enforce memory limits, and may swap pictures out: add cgroup_enable=memory to"
            " its command line (on Raspberry Pi OS in /boot/firmware/cmdline.txt)"
        )
    return lines


def _limits_memory() -> bool:
    try:
        return "memory" in _CONTROLLERS.read_text().split()
    except OSError:  # the older hierarchy, which says so elsewhere
        return (_CONTROLLERS.parent / "memory").is_dir()


def _ask(*words: str) -> list[str]:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"{words[0]} cannot be run: {error.strerror}; a service needs systemd") from None
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[0]
        raise InputError(f"{words[0]} does not answer: {said}; a service needs systemd")
    return done.stdout.splitlines()
