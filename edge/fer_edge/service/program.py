"""Locate the ``fer-edge`` program of the service and check that the service's user can run it."""

from __future__ import annotations

import os
import re
import stat
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fer_edge.errors import InputError

HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""Folders hidden by ProtectHome= in the unit."""
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
_UNESCAPED = re.compile(r"[A-Za-z0-9_./+@,=-]+")
"""Paths that need no escaping in a unit file."""
_ADVICE = "create the environment in another folder, such as /opt/fer-edge, and install the service from there"


@dataclass(frozen=True, slots=True)
class Program:
    """The program file ``command``; ``hidden`` are the folders in home directories that it needs."""

    command: Path
    hidden: tuple[Path, ...] = ()


def program_at(command: Path) -> Program:
    """Return the program at ``command`` in an image. Raises InputError if a service cannot use that path."""
    check_path(command)
    if is_below(command, HOMES):
        raise InputError(f"{command}: the service cannot see home folders; {_ADVICE}")
    return Program(command)


def this_program() -> Program:
    """Return the program of the running environment. Raises InputError if a service cannot use it."""
    command = Path(sysconfig.get_path("scripts")) / "fer-edge"
    if not command.is_file():
        raise InputError(f"{command}: file not found, and the service needs it; {_ADVICE}")
    python = Path(os.path.realpath(sys.executable)).parents[1]
    folders = {Path(sys.prefix), Path(sys.base_prefix), python, *_packages()}
    for folder in (command, *folders):
        check_path(folder)
    at_home = {folder for folder in folders if is_below(folder, HOMES)}
    hidden = tuple(sorted(folder for folder in at_home if at_home.isdisjoint(folder.parents)))
    for folder in (command, *folders):
        _check_access(folder, hidden)
    return Program(command, hidden)


def check_path(path: Path) -> None:
    """Raise InputError if a unit file cannot contain ``path``, or the service cannot see it."""
    if not path.is_absolute() or not _UNESCAPED.fullmatch(str(path)):
        raise InputError(f"{str(path)!r}: the service needs an absolute path of letters, digits and _ . + @ , = -")
    if is_below(path, _TEMPORARY):
        raise InputError(f"{path}: the service cannot see temporary files; choose another path")


def is_below(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether ``path``, as given or with links resolved, is in one of ``folders``."""
    forms = (path, Path(os.path.realpath(path)))
    return any(form.is_relative_to(folder) for form in forms for folder in folders)


def _packages() -> set[Path]:
    """Return the folders of the packages; those of an editable install are outside of the environment."""
    specs = (find_spec(name) for name in ("fer_edge", "numpy", "cv2", "ai_edge_litert", "tflite_runtime"))
    return {Path(spec.origin).parents[1] for spec in specs if spec is not None and spec.origin is not None}


def _check_access(path: Path, hidden: tuple[Path, ...]) -> None:
    """Raise InputError if other users cannot enter ``path`` or one of its parents."""
    for part in (path, *path.parents):
        # The unit mounts the hidden folders into an empty home, so that permissions of their parents do not apply.
        if any(folder != part and folder.is_relative_to(part) for folder in hidden):
            continue
        if not part.stat().st_mode & stat.S_IXOTH:
            raise InputError(f"{part}: the service's user cannot enter it; chmod o+rx {part}, or {_ADVICE}")
