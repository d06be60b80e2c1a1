"""A virtual environment as after ``pip install fer-edge`` on a Pi: the project and the base requirements."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]


def make_base_environment(folder: Path, wheel: Path) -> Path:
    """Make a virtual environment in ``folder``, install ``wheel`` in it and return its ``fer-edge`` command.

    The packages of locks/edge.txt are linked from the environment of the tests; its other packages are hidden.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))
    for name in sorted(_top_level_entries()):
        (site / name.name).symlink_to(name)
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(folder), *install], check=True)
    return folder / "bin" / "fer-edge"


def run_installed(command: list[str | Path], cwd: Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``cwd`` without environment variables that refer to the checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FER_EDGE_"))}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def lock_path(lock: str) -> Path:
    """Return the lock file with that name: those for cards are in the package that composes cards."""
    shipped = CHECKOUT / "edge" / "fer_flash" / "locks" / f"{lock}.txt"
    return shipped if shipped.is_file() else CHECKOUT / "locks" / f"{lock}.txt"


def locked(lock: str) -> dict[str, str]:
    """Return name and version of each requirement in the lock file ``lock``, for any platform."""
    text = lock_path(lock).read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, flags=re.MULTILINE))


def _top_level_entries() -> set[Path]:
    entries = set()
    for name in locked("edge").keys() - {"colorama"}:  # colorama is locked for Windows alone
        for path in distribution(name).files or ():
            # Scripts are outside (``../../../bin/tqdm``); commands of dependencies are not needed.
            if path.parts[0] not in {"..", "__pycache__"}:
                entries.add(Path(str(path.locate())).parents[len(path.parts) - 1] / path.parts[0])
    return entries
