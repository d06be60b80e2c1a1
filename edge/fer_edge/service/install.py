"""``fer-edge service install`` and ``remove``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import stat
import sys
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from fer_edge.errors import CheckFailedError, ConfigError, FerEdgeError, InputError, OutputError
from fer_edge.service.plan import Command, Delete, Step, System, Write
from fer_edge.service.program import HOMES, Program, check_place, is_below, program_at, this_program
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.system.extras import missing_packages, require_extra
from fer_edge.system.notify import UNIT

USER = "fer-edge"
CONFIG = "/etc/fer-edge/config.toml"
EVENTS_FOLDER = "/var/lib/fer-edge"
_UNIT_FILE = f"/etc/systemd/system/{UNIT}"
_USER_FILE = "/etc/sysusers.d/fer-edge.conf"
_USER_LINE = f'u {USER} - "FER-Edge" {EVENTS_FOLDER}\n'
CAMERA_MODULES = ("mc", "videodev")
"""Modules of the kernel that register the devices of cameras."""
_MODULES_FILE = "/etc/modules-load.d/fer-edge.conf"
_MODULES_TEXT = """\
# Written by `fer-edge service install`: registers the devices of cameras before the service starts, so that systemd
# finds the names in the unit's DeviceAllow=. Without this a camera whose driver loads later could stay refused.
""" + "".join(f"{name}\n" for name in CAMERA_MODULES)
_BOOTED = Path("/run/systemd/system")
"""There where systemd is what runs this machine; see sd_booted(3)."""

_LOAD_MODULES = Command(("systemctl", "restart", "systemd-modules-load.service"), may_fail=True)
"""Done at each start of the machine too; it may fail, since a kernel without these modules has no cameras either."""


def install(arguments: argparse.Namespace) -> int:
    """Carry out ``fer-edge service install``; returns the exit code. Raises FerEdgeError."""
    system = _system(arguments)
    config: Path = arguments.config or Path(CONFIG)
    program = program_at(arguments.command_path) if arguments.command_path else this_program()
    check_place(config)
    if is_below(config, HOMES):
        raise InputError(f"{config}: the service cannot see home folders; move it to {CONFIG}")
    there = system.path(str(config))
    write_config = arguments.config is None and not there.exists()
    if not write_config:
        _check_config(there)
    plan: list[Step] = [Write(system.path(_USER_FILE), _USER_LINE), system.tool("systemd-sysusers", "fer-edge.conf")]
    if write_config:
        # The group's alone: addresses of cameras hold passwords.
        plan.append(Write(there, default_config(), 0o640, USER, system))
    plan.append(Write(system.path(_MODULES_FILE), _MODULES_TEXT))
    plan.append(Write(system.path(_UNIT_FILE), unit_text(program, config)))
    if arguments.dry_run:
        _show([*plan, *_enable(system), *([] if system.root else [_LOAD_MODULES, _starting(again=True)])])
        return 0
    changed = _carry_out(plan)
    _carry_out(_enable(system))
    if system.root is None:
        if changed:
            _carry_out([_LOAD_MODULES])
        _start(again=changed)
    _tell_installed(config, write_config, started=system.root is None)
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Carry out ``fer-edge service remove``; returns the exit code. Raises FerEdgeError."""
    system = _system(arguments)
    now = [] if system.root is not None else ["--now"]
    plan: list[Step] = []
    if system.path(_UNIT_FILE).exists():
        plan.append(system.tool("systemctl", "disable", *now, UNIT))
    plan += [Delete(system.path(name)) for name in (_UNIT_FILE, _MODULES_FILE, _USER_FILE)]
    if system.root is None:
        plan += [Command(("systemctl", "daemon-reload")), Command(("systemctl", "reset-failed", UNIT), may_fail=True)]
    if arguments.dry_run:
        _show(plan)
        return 0
    _carry_out(plan)
    kept = f"kept: {Path(CONFIG).parent}, {EVENTS_FOLDER}, the user {USER}"
    sys.stdout.write(f"{UNIT} is removed\n{kept}; to delete these too: rm -r")
    sys.stdout.write(f" {Path(CONFIG).parent} {EVENTS_FOLDER}; userdel {USER}\n")
    return 0


def unit_text(program: Program, config: Path) -> str:
    """The unit's file for ``program``, run with the settings in ``config``."""
    text = files(__package__).joinpath(UNIT).read_text(encoding="utf-8")
    home = "tmpfs" if program.hidden else "yes"
    home += "".join(f"\nBindReadOnlyPaths={folder}" for folder in program.hidden)
    for name, value in {"COMMAND": str(program.command), "CONFIG": str(config), "PROTECT_HOME": home}.items():
        text = text.replace(f"@{name}@", value)
    return text


def default_config(source: str | None = None, *, page: bool | None = None) -> str:
    """Return the settings that a service begins with, as TOML.

    ``source`` is what it watches and ``page`` whether it serves the page; by default a camera of the kind that can be
    had here, and the page if its packages are installed here.
    """
    text = files(__package__).joinpath("config.toml").read_text(encoding="utf-8")
    if source is None and find_spec("picamera2") is not None:
        source = "picamera2"
    if source is not None:
        text = text.replace('uris = ["0"]', f"uris = {json.dumps([source])}")
    if missing_packages("web") if page is None else not page:
        text = text.replace("enabled = true", "# Needs: pip install 'fer-edge[web]'\nenabled = false")
    return text


def _check_config(path: Path) -> None:
    """Refuse here what the service would refuse at its start. Raises ConfigError, InputError."""
    settings: RuntimeSettings = load_settings(path, environment={})
    if not settings.source.uris:
        raise ConfigError(f"{path}: no source: set [source] uris")
    if settings.web.enabled:
        require_extra("web")
    if settings.mqtt.host is not None:
        require_extra("mqtt")
    status = path.stat()
    if not status.st_mode & stat.S_IROTH and not (status.st_mode & stat.S_IRGRP and status.st_gid != 0):
        raise InputError(f"{path}: the service's user may not read it: chgrp {USER} {path}; chmod 640 {path}")


def _enable(system: System) -> list[Step]:
    enable = system.tool("systemctl", "enable", UNIT)
    return [enable] if system.root is not None else [Command(("systemctl", "daemon-reload")), enable]


def _starting(*, again: bool) -> Command:
    return Command(("systemctl", "restart" if again else "start", UNIT))


def _start(*, again: bool) -> None:
    try:
        _carry_out([_starting(again=again)])
    except CheckFailedError:
        raise CheckFailedError(f"{UNIT} is installed, but does not start: fer-edge service status tells why") from None


def _show(plan: Sequence[Step]) -> None:
    for step in plan:
        sys.stdout.write(f"{step}\n")
        if isinstance(step, Write):
            sys.stdout.write("".join(f"    {line}".rstrip() + "\n" for line in step.text.splitlines()))


def _system(arguments: argparse.Namespace) -> System:
    """What to work on. Raises InputError where that cannot be."""
    if arguments.root is not None:
        if not arguments.root.is_dir():
            raise InputError(f"{arguments.root}: no such folder; --root takes the root of a system")
        return System(arguments.root.absolute())
    if arguments.dry_run:
        return System()
    if not _BOOTED.is_dir():
        raise InputError("systemd does not run here, and a service needs it; fer-edge run does without")
    if os.geteuid() != 0:
        words = sys.argv if sys.argv[0].endswith("fer-edge") else ["fer-edge", *sys.argv[1:]]
        raise InputError(f"only root may change the system's services: {shlex.join(['sudo', *words])}")
    return System()


def _carry_out(plan: Sequence[Step]) -> bool:
    """Take each step, and return whether a file changed. Raises FerEdgeError."""
    changed = False
    for step in plan:
        try:
            done = step.carry_out()
        except FerEdgeError:
            raise
        except OSError as error:
            raise OutputError(f"cannot {step}: {error.strerror}") from None
        if done:
            sys.stdout.write(f"{step}\n")
            changed = changed or not isinstance(step, Command)
    return changed


def _tell_installed(config: Path, config_is_new: bool, *, started: bool) -> None:
    if config_is_new:
        (uri,) = tomllib.loads(default_config())["source"]["uris"]
        sys.stdout.write(f"{config} is new: it names the camera {uri!r}; after a change: systemctl reload fer-edge\n")
    what = "runs, and will after each start of this machine" if started else "will start with that system"
    sys.stdout.write(f"{UNIT} {what}; to look at it: fer-edge service status\n")
