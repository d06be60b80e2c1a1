"""``fer-edge service status``: the state of the unit, from systemd and the journal."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.service.plan import run_program
from fer_edge.system.messages import printable
from fer_edge.system.notify import UNIT

_PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,StateChangeTimestamp,NRestarts,StatusText,"
    "WatchdogUSec,WatchdogTimestampMonotonic,Result,ExecMainStatus,FragmentPath"
)
_CONTROLLERS = Path("/sys/fs/cgroup/cgroup.controllers")
_LOG_LINES = 10
_EXEC_START = re.compile(r"^ExecStart=(\S+) run ", flags=re.MULTILINE)
_PYTHON = re.compile(r"python3\.\d+")


def status(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge service status`` and return 0 if the unit is active, else 1. Raises InputError."""
    shown = _run("systemctl", "show", UNIT, "--timestamp=unix", f"--property={_PROPERTIES}")
    unit = dict(line.partition("=")[::2] for line in shown)
    if unit.get("LoadState", "not-found") == "not-found":
        sys.stdout.write(f"{UNIT} is not installed: fer-edge service install\n")
        return 1
    active = unit.get("ActiveState") in ("active", "reloading")
    sys.stdout.write("".join(f"{printable(line)}\n" for line in _describe(unit, active=active)))
    try:
        log = _run("journalctl", f"--unit={UNIT}", f"--lines={_LOG_LINES}", "--no-pager", "--output=short-iso")
    except InputError:  # the journal requires root or the group adm
        log = [f"no permission to read the journal: sudo journalctl -u {UNIT}"]
    sys.stdout.write("".join(f"    {printable(line)}\n" for line in log))
    return 0 if active else 1


def _describe(unit: dict[str, str], *, active: bool) -> list[str]:
    """Return the lines to print for the properties of the unit."""
    since = unit.get("StateChangeTimestamp", "").removeprefix("@")
    when = f" since {datetime.fromtimestamp(float(since), UTC):%Y-%m-%d %H:%M:%S} UTC" if since else ""
    restarts = int(unit.get("NRestarts") or 0)
    state = f"{unit.get('ActiveState', 'unknown')} ({unit.get('SubState', 'unknown')})"
    lines = [f"{UNIT}: {state}{when}, {restarts} restart{'' if restarts == 1 else 's'}"]
    if unit.get("StatusText"):
        lines.append(f"status: {unit['StatusText']}")
    problem = unit_problem(Path(unit.get("FragmentPath", "")))
    if problem is not None:
        lines.append(f"{problem}; reinstall FER-Edge in a new environment")
    if not active:
        lines.append(f"last run: {unit.get('Result', '')}, exit status {unit.get('ExecMainStatus') or 0}")
    watchdog = unit.get("WatchdogUSec", "infinity")
    if active and watchdog not in ("infinity", "0"):
        notified_us = int(unit.get("WatchdogTimestampMonotonic") or 0)
        age_s = time.clock_gettime(time.CLOCK_MONOTONIC) - notified_us / 1e6
        lines.append(f"watchdog: {watchdog}" + (f", last notified {age_s:.0f} s ago" if notified_us else ""))
    if unit.get("UnitFileState") != "enabled":
        lines.append(f"it does not start at boot: systemctl enable {UNIT}")
    if not _limits_memory():
        lines.append(
            "this kernel does not enforce memory limits and may swap out images: add cgroup_enable=memory to"
            " its command line (on Raspberry Pi OS in /boot/firmware/cmdline.txt)"
        )
    return lines


def _limits_memory() -> bool:
    """Return whether this kernel enforces the memory limits of the unit."""
    try:
        return "memory" in _CONTROLLERS.read_text().split()
    except OSError:  # cgroup v1 has one folder per controller
        return (_CONTROLLERS.parent / "memory").is_dir()


def _run(*words: str) -> list[str]:
    """Run a command and return the lines that it prints. Raises InputError if it fails."""
    done = run_program(*words)
    if done.returncode:
        output = (done.stderr.strip() or "no output").splitlines()[0]
        raise InputError(f"{words[0]} failed: {output}; the service requires systemd")
    return done.stdout.splitlines()


def unit_problem(unit_file: Path) -> str | None:
    """Return why the environment in ``unit_file`` cannot run; None if it can, if this is unknown, or without a unit."""
    try:
        found = _EXEC_START.search(unit_file.read_text(encoding="utf-8", errors="replace"))
        return None if found is None else environment_problem(Path(found[1]))
    except OSError:  # no unit, or an environment in another user's home
        return None


def environment_problem(command: Path) -> str | None:
    """Return why the virtual environment of ``command`` (``…/bin/fer-edge``) lacks its Python or its packages.

    After a system upgrade, ``bin/python3`` is a broken link or a link to another version, which searches its packages
    in another folder. ``ExecCondition=`` in the unit checks the same. Returns None if all is present, or if ``command``
    is not in a virtual environment.
    """
    home = command.parent.parent
    if not (home / "pyvenv.cfg").is_file():
        return None
    python = Path(os.path.realpath(command.parent / "python3"))
    if not python.exists():
        return f"{home} was created with another Python: {python} does not exist"
    if not _PYTHON.fullmatch(python.name) or (home / "lib" / python.name / "site-packages").is_dir():
        return None
    versions = sorted(path.parent.name for path in home.glob("lib/python3.*/site-packages"))
    return f"{home} was created with {' and '.join(versions) or 'another Python'}, but python3 is {python.name}"
