"""Check that the virtual environment of the installed unit matches the system's Python."""

from __future__ import annotations

import os
import re
from pathlib import Path

_EXEC_START = re.compile(r"^ExecStart=(\S+) run ", flags=re.MULTILINE)
_PYTHON = re.compile(r"python3\.\d+")


def unit_problem(unit_file: Path) -> str | None:
    """Return why the environment in ``unit_file`` cannot run; None if it can, or if this is unknown."""
    try:
        found = _EXEC_START.search(unit_file.read_text(encoding="utf-8", errors="replace"))
        return None if found is None else environment_problem(Path(found[1]))
    except OSError:  # includes environments in another user's home
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
