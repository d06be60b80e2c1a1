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

from fer_edge.errors import CheckFailedError, ConfigError, FerEdgeError, InputError, OutputError, install_command
from fer_edge.service.plan import Command, Delete, Step, System, Write
from fer_edge.service.program import HOMES, Program, check_path, is_below, program_at, this_program
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
"""Kernel modules that register camera devices."""
_MODULES_FILE = "/etc/modules-load.d/fer-edge.conf"
_MODULES_TEXT = """\
# Written by `fer-edge service install`: registers camera devices before the service starts, so that systemd can resolve
# the names in the unit's DeviceAllow=. Otherwise a camera whose driver loads later could be denied.
""" + "".join(f"{name}\n" for name in CAMERA_MODULES)
_BOOTED = Path("/run/systemd/system")
"""Exists if systemd is the init system; see sd_booted(3)."""

_LOAD_MODULES = Command(("systemctl", "restart", "systemd-modules-load.service"), may_fail=True)
"""Also runs at each boot. May fail: a kernel without these modules has no cameras."""
_RELOAD_UNITS = Command(("systemctl", "daemon-reload"))
_RESTART = Command(("systemctl", "restart", UNIT))


def install(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge service install`` and return the exit code. Raises FerEdgeError."""
    system = _system(arguments)
    config: Path = arguments.config or Path(CONFIG)
    program = program_at(arguments.command_path) if arguments.command_path else this_program()
    check_path(config)
    if is_below(config, HOMES):
        raise InputError(f"{config}: the service cannot see home folders; move it to {CONFIG}")
    config_path = system.path(str(config))
    write_config = arguments.config is None and not config_path.exists()
    if not write_config:
        _check_config(config_path)
    plan: list[Step] = [Write(system.path(_USER_FILE), _USER_LINE), system.tool("systemd-sysusers", "fer-edge.conf")]
    if write_config:
        # Readable by the group only: camera URLs contain passwords.
        plan.append(Write(config_path, default_config(), 0o640, USER, system))
    plan.append(Write(system.path(_MODULES_FILE), _MODULES_TEXT))
    plan.append(Write(system.path(_UNIT_FILE), unit_text(program, config)))
    if system.root is None:
        plan.append(_RELOAD_UNITS)
    plan.append(system.tool("systemctl", "enable", UNIT))
    if arguments.dry_run:
        _show([*plan, *([] if system.root else [_LOAD_MODULES, _RESTART])])
        return 0
    changed = _execute(plan)
    if system.root is None:
        _start(changed=changed)
    _report_installed(config, write_config, started=system.root is None)
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge service remove`` and return the exit code. Raises FerEdgeError."""
    system = _system(arguments)
    now = [] if system.root is not None else ["--now"]
    plan: list[Step] = []
    if system.path(_UNIT_FILE).exists():
        plan.append(system.tool("systemctl", "disable", *now, UNIT))
    plan += [Delete(system.path(name)) for name in (_UNIT_FILE, _MODULES_FILE, _USER_FILE)]
    if system.root is None:
        plan += [_RELOAD_UNITS, Command(("systemctl", "reset-failed", UNIT), may_fail=True)]
    if arguments.dry_run:
        _show(plan)
        return 0
    _execute(plan)
    kept = f"kept: {Path(CONFIG).parent}, {EVENTS_FOLDER}, the user {USER}"
    sys.stdout.write(f"{UNIT} is removed\n{kept}; to delete these too: rm -r")
    sys.stdout.write(f" {Path(CONFIG).parent} {EVENTS_FOLDER}; userdel {USER}\n")
    return 0


def unit_text(program: Program, config: Path) -> str:
    """Return the unit file that runs ``program`` with the settings in ``config``."""
    text = files(__package__).joinpath(UNIT).read_text(encoding="utf-8")
    home = "tmpfs" if program.hidden else "yes"
    home += "".join(f"\nBindReadOnlyPaths={folder}" for folder in program.hidden)
    text = text.replace("@COMMAND@", str(program.command)).replace("@CONFIG@", str(config))
    return text.replace("@PROTECT_HOME@", home)


def default_config(source: str | None = None, *, page: bool | None = None) -> str:
    """Return the initial settings of the service as TOML.

    Args:
        source: The source; by default ``picamera2`` if it is installed here, else the first USB camera.
        page: Whether to enable the status page; by default if the extra ``web`` is installed here.
    """
    text = files(__package__).joinpath("config.toml").read_text(encoding="utf-8")
    if source is None and find_spec("picamera2") is not None:
        source = "picamera2"
    if source is not None:
        text = text.replace('uris = ["0"]', f"uris = {json.dumps([source])}")
    if missing_packages("web") if page is None else not page:
        text = text.replace("enabled = true", f"# Needs: {install_command('web')}\nenabled = false")
    return text


def _check_config(path: Path) -> None:
    """Raise ConfigError or InputError if the service would refuse the settings, or could not read them."""
    settings: RuntimeSettings = load_settings(path, environment={})
    if not settings.uris:
        raise ConfigError(f"{path}: no source: set [source] uris")
    if settings.web.enabled:
        require_extra("web")
    if settings.mqtt.host is not None:
        require_extra("mqtt")
    if settings.update.url is not None:
        require_extra("update")
    status = path.stat()
    if not status.st_mode & stat.S_IROTH and not (status.st_mode & stat.S_IRGRP and status.st_gid != 0):
        raise InputError(f"{path}: the service's user cannot read it: chgrp {USER} {path}; chmod 640 {path}")


def _start(*, changed: bool) -> None:
    try:
        _execute([_LOAD_MODULES, _RESTART] if changed else [Command(("systemctl", "start", UNIT))])
    except CheckFailedError:
        raise CheckFailedError(f"{UNIT} is installed but failed to start; see fer-edge service status") from None


def _show(plan: Sequence[Step]) -> None:
    for step in plan:
        sys.stdout.write(f"{step}\n")
        if isinstance(step, Write):
            sys.stdout.write("".join(f"    {line}".rstrip() + "\n" for line in step.text.splitlines()))


def _system(arguments: argparse.Namespace) -> System:
    """Return the file system to work on. Raises InputError if it cannot be changed."""
    if arguments.root is not None:
        if not arguments.root.is_dir():
            raise InputError(f"{arguments.root}: folder not found; --root expects the root of a file system")
        return System(arguments.root.absolute())
    if arguments.dry_run:
        return System()
    if not _BOOTED.is_dir():
        raise InputError("systemd is not running, and the service requires it; fer-edge run works without systemd")
    if os.geteuid() != 0:
        words = sys.argv if sys.argv[0].endswith("fer-edge") else ["fer-edge", *sys.argv[1:]]
        raise InputError(f"changing system services requires root: {shlex.join(['sudo', *words])}")
    return System()


def _execute(plan: Sequence[Step]) -> bool:
    """Run each step and return whether a file changed. Raises FerEdgeError."""
    changed = False
    for step in plan:
        try:
            done = step.execute()
        except FerEdgeError:
            raise
        except OSError as error:
            raise OutputError(f"cannot {step}: {error.strerror}") from None
        if done:
            sys.stdout.write(f"{step}\n")
            changed = changed or not isinstance(step, Command)
    return changed


def _report_installed(config: Path, config_is_new: bool, *, started: bool) -> None:
    if config_is_new:
        (uri,) = tomllib.loads(default_config())["source"]["uris"]
        sys.stdout.write(f"{config} created with the camera {uri!r}; to apply changes: systemctl reload fer-edge\n")
    what = "is running and starts at each boot" if started else "starts when that system boots"
    sys.stdout.write(f"{UNIT} {what}; status: fer-edge service status\n")
