"""An environment for each lock file of the device, with the test tools of locks/dev.txt, made once and kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arm.sandbox import run
from support.environments.fresh_install import CHECKOUT
from support.environments.lock_files import TEST_TOOLS, requirements

_MADE_FROM = ".made-from"
"""File in an environment that describes its contents."""


@dataclass(frozen=True, slots=True)
class Target:
    """``python`` with the packages of the lock file ``lock``, except for those in ``without``.

    The lock files are made for aarch64, but contain the hashes of every platform's wheels.
    """

    name: str
    python: str
    lock: str
    without: frozenset[str] = frozenset()

    def requirements(self) -> str:
        """Everything to install, as requirements for pip."""
        tools = requirements("dev", only=TEST_TOOLS)
        return "\n".join({**tools, **requirements(self.lock, without=self.without)}.values()) + "\n"


TARGETS = (
    Target("bookworm", "3.11", "pi-bookworm"),
    # Without LiteRT, so that every test uses the other interpreter.
    Target("bookworm-legacy", "3.11", "pi-bookworm-legacy", frozenset({"ai-edge-litert"})),
    Target("trixie", "3.13", "pi-trixie"),
)


def find_python(version: str) -> Path | None:
    """Return a working Python ``version`` (such as 3.13) from the PATH or from pyenv; None if none is found."""
    for candidate in _candidates(version):
        try:
            asked = [candidate, "-c", "import sys, venv; print(*sys.version_info[:2], sep='.'); print(sys.executable)"]
            answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
        except (OSError, subprocess.CalledProcessError):  # pyenv's python3.13 fails if that version is not selected
            continue
        if answer[0] == version:
            return Path(answer[1])
    return None


def _candidates(version: str) -> Iterator[str]:
    yield sys.executable
    yield f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for python in sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True):
        yield str(python)


def make_environment(target: Target, python: Path, folder: Path) -> Path:
    """Return the Python of ``folder``, an environment for ``target``, created unless it is up to date.

    Raises InputError if a package cannot be installed.
    """
    wanted = hashlib.sha256(f"{python}\n{target.requirements()}".encode()).hexdigest()
    own_python, made_from = folder / "bin" / "python", folder / _MADE_FROM
    if not made_from.is_file() or made_from.read_text() != wanted:
        run([python, "-m", "venv", "--clear", "--without-pip", folder])
        listed = folder / "requirements.txt"
        listed.write_text(target.requirements())
        _install(own_python, "--require-hashes", "--only-binary", ":all:", "--requirement", listed)
        made_from.write_text(wanted)
    return own_python


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout in ``folder``."""
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, CHECKOUT]
    run([sys.executable, "-m", "pip", "--disable-pip-version-check", *build])
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_wheel(python: Path, wheel: Path) -> None:
    """Replace an older wheel by ``wheel``."""
    _install(python, "--force-reinstall", wheel)


def _install(python: Path, *arguments: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run([*pip, "install", "--quiet", "--no-deps", "--no-compile", *arguments])
