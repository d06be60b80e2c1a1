"""The ``fer-edge`` that a service starts: where it is, and whether another user could run it there."""

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
"""What the unit's ProtectHome hides."""
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
_PLAIN = re.compile(r"[A-Za-z0-9_./+@,=-]+")
"""Paths that mean the same in a unit file as they do here, with nothing to escape."""
_ELSEWHERE = "make the environment in /opt/fer-edge, say, and install the service from there"


@dataclass(frozen=True, slots=True)
class Program:
    """``command`` is the file to start; ``hidden`` are the folders in people's homes that it cannot do without."""

    command: Path
    hidden: tuple[Path, ...] = ()


def program_at(command: Path) -> Program:
    """The ``fer-edge`` at ``command``, in an image that is being made. Raises InputError for a path that cannot be."""
    check_place(command)
    if is_below(command, HOMES):
        raise InputError(f"{command}: the service cannot see home folders; {_ELSEWHERE}")
    return Program(command)


def this_program() -> Program:
    """The ``fer-edge`` of the environment that runs this. Raises InputError where a service could not use it."""
    command = Path(sysconfig.get_path("scripts")) / "fer-edge"
    if not command.is_file():
        raise InputError(f"{command}: no such file, and a service needs one to start; {_ELSEWHERE}")
    python = Path(os.path.realpath(sys.executable)).parents[1]
    folders = {Path(sys.prefix), Path(sys.base_prefix), python, *_packages()}
    for folder in (command, *folders):
        check_place(folder)
    hidden = tuple(sorted(_outermost(folder for folder in folders if is_below(folder, HOMES))))
    for folder in (command, *folders):
        _check_open_to_others(folder, hidden)
    return Program(command, hidden)


def check_place(path: Path) -> None:
    """Raises InputError for a path that a unit cannot name, or that the service would not find."""
    if not path.is_absolute() or not _PLAIN.fullmatch(str(path)):
        raise InputError(f"{str(path)!r}: a service needs a full path of plain letters, digits and _ . + @ , = -")
    if is_below(path, _TEMPORARY):
        raise InputError(f"{path}: a service sees none of others' temporary files; choose another place")


def is_below(path: Path, folders: Iterable[Path]) -> bool:
    """Whether ``path`` is one of ``folders`` or in one, with links followed or not."""
    spellings = (path, Path(os.path.realpath(path)))
    return any(spelling.is_relative_to(folder) for spelling in spellings for folder in folders)


def _packages() -> set[Path]:
    """Folders that the packages come from; those of an editable install lie outside of its environment."""
    specs = (find_spec(name) for name in ("fer_edge", "numpy", "cv2", "ai_edge_litert", "tflite_runtime"))
    return {Path(spec.origin).parents[1] for spec in specs if spec is not None and spec.origin is not None}


def _outermost(folders: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in sorted(folders):  # whatever holds others comes before them
        if not any(folder.is_relative_to(outer) for outer in found):
            found.append(folder)
    return found


def _check_open_to_others(path: Path, hidden: tuple[Path, ...]) -> None:
    """Raises InputError where a user who owns nothing of it may not get to ``path``."""
    for part in (path, *path.parents):
        # The unit shows the hidden folders in homes of its own making: what is above them does not count.
        if any(folder != part and folder.is_relative_to(part) for folder in hidden):
            continue
        if not part.stat().st_mode & stat.S_IXOTH:
            raise InputError(f"{part}: the service's user may not go in there; chmod o+rx {part}, or {_ELSEWHERE}")
