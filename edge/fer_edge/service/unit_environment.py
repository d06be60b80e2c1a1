"""Whether the virtual environment of the installed unit still fits the system's Python."""

from __future__ import annotations

import os
import re
from pathlib import Path

_EXEC_START = re.compile(r"^ExecStart=(\S+) run ", flags=re.MULTILINE)
_PYTHON = re.compile(r"python3\.\d+")


def unit_problem(unit_file: Path) -> str | None:
    """Return why the environment that ``unit_file`` starts cannot run, None if it can or if that is not known."""
    try:
        found = _EXEC_START.search(unit_file.read_text(encoding="utf-8", errors="replace"))
        return None if found is None else environment_problem(Path(found[1]))
    except OSError:  # also where another user's home holds the environment
        return None


def environment_problem(command: Path) -> str | None:
    """Return why the virtual environment of ``command`` (``…/bin/fer-edge``) lacks its Python or its packages.

    After an upgrade of the system in place, ``bin/python3`` leads to nothing, or to another version, whose packages
    would be in another folder. The unit's ``ExecCondition=`` checks the same. None where
    ``command`` is not in a virtual environment.
    """
    home = command.parent.parent
    if not (home / "pyvenv.cfg").is_file():
        return None
    python = Path(os.path.realpath(command.parent / "python3"))
    if not python.exists():
        return f"{home} was made with another Python: {python} is gone"
    if not _PYTHON.fullmatch(python.name) or (home / "lib" / python.name / "site-packages").is_dir():
        return None
    made_for = sorted(path.parent.name for path in home.glob("lib/python3.*/site-packages"))
    return f"{home} was made with {' and '.join(made_for) or 'another Python'}: it is {python.name} now"
