"""The wheels that go onto a device, kept in a folder: fetched once by pip, and held to the lock at every use.

A wheel's name tells its package, version, Python and platform (binary distribution format, packaging.python.org,
"File name convention"), so the folder itself is the record of what is there.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_edge.model.bundle import file_sha256
from fer_edge.system.user_folders import cache_folder
from fer_flash.meter import size
from fer_flash.payload.releases import Pin, Release

_GLIBC = ("2014", "_2_17", "_2_27", "_2_28")
"""Of the manylinux tags, those up to what LiteRT needs; Bookworm has glibc 2.36."""
_WHEEL = re.compile(r"([^-]+)-([^-]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl")
_SECONDS = 1800.0
"""For one wheel: the largest has 36 MB, and a line may be slow."""


def wheels_folder(release: Release, machine: str, cache: Path | None = None) -> Path:
    """Where the wheels for ``release`` on ``machine`` are kept below ``cache``, without one the user's own."""
    return (cache or cache_folder()) / "wheels" / f"{release.name}-{machine}"


def collect(
    release: Release,
    machine: str = "aarch64",
    *,
    cache: Path | None = None,
    force: bool = False,
    report: Callable[[str], object] = lambda line: None,
) -> list[Path]:
    """Each wheel of the lock, in its order, pip's own as the last; only what is missing needs the network.

    A file whose sha256 is not the lock's is refused, or with ``force`` deleted and fetched again. ``report`` is given a
    line for each step. Raises CheckFailedError for such a file, InputError where pip is missing or cannot fetch,
    OutputError where the folder cannot be written.
    """
    folder = wheels_folder(release, machine, cache)
    found = []
    for pin in release.pins():
        wheel = find_wheel(folder, pin, release, machine)
        if wheel is not None and file_sha256(wheel) not in pin.sha256:
            if not force:
                raise CheckFailedError(
                    f"{wheel}: its sha256 is not the lock's: damaged or replaced; fer-edge flash wheels --force fetches"
                    " it again"
                )
            report(f"{wheel.name}: its sha256 is not the lock's: deleted")
            wheel.unlink()
            wheel = None
        if wheel is None:
            wheel = _fetch(pin, release, machine, folder)
            report(f"{wheel.name}: fetched, {size(wheel.stat().st_size)}")
        found.append(wheel)
    return found


def find_wheel(folder: Path, pin: Pin, release: Release, machine: str) -> Path | None:
    """The file in ``folder`` that says by its name to be ``pin`` for that system; None where there is none."""
    fitting = (path for path in sorted(folder.glob("*.whl")) if _fits(path.name, pin, release, machine))
    return next(fitting, None)


def _fits(file_name: str, pin: Pin, release: Release, machine: str) -> bool:
    parts = _WHEEL.fullmatch(file_name)
    if parts is None:
        return False
    name, version, pythons, abis, platforms = parts.groups()
    if re.sub(r"[-_.]+", "-", name).lower() != pin.name or version != pin.version:
        return False
    own = f"cp{release.python.replace('.', '')}"
    runs = {own, "py3"} & set(pythons.split(".")) or "abi3" in abis.split(".")
    return bool(runs) and any(platform == "any" or platform.endswith(machine) for platform in platforms.split("."))


def _fetch(pin: Pin, release: Release, machine: str, folder: Path) -> Path:
    """Into the folder under its own name when it is whole, and never before."""
    if importlib.util.find_spec("pip") is None:
        raise InputError(f"fetching wheels needs pip beside this fer-edge: {sys.executable} -m ensurepip")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as passing:
            (listed := Path(passing) / "requirements.txt").write_text(pin.as_requirement() + "\n", encoding="utf-8")
            _download(pin, [*_system_words(release, machine), "--dest", passing, "--requirement", str(listed)])
            wheel = find_wheel(Path(passing), pin, release, machine)
            # pip has held it to its hash; this is what holds pip to it.
            if wheel is None or file_sha256(wheel) not in pin.sha256:
                raise CheckFailedError(f"pip fetched no {pin.name} {pin.version} for {machine} that the lock names")
            shutil.move(wheel, folder / wheel.name)
            return folder / wheel.name
    except CheckFailedError:
        raise
    except InputError:
        raise
    except OSError as error:
        raise OutputError(f"{folder}: cannot keep wheels there: {error.strerror}") from None


def _system_words(release: Release, machine: str) -> list[str]:
    words = ["--implementation=cp", f"--python-version={release.python}"]
    words += [f"--abi={abi}" for abi in (f"cp{release.python.replace('.', '')}", "abi3", "none")]
    return words + [f"--platform=manylinux{glibc}_{machine}" for glibc in _GLIBC]


def _download(pin: Pin, words: Sequence[str]) -> None:
    """Raises InputError with pip's last complaint."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--retries=2", *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{pin.name} {pin.version}: not fetched in {_SECONDS / 60:.0f} minutes; try again") from None
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        said = complaints[0].removeprefix("ERROR: ") if complaints else f"pip ended with {done.returncode}"
        raise InputError(f"{pin.name} {pin.version}: cannot be fetched: {said}; look at the network, then try again")


def _environment() -> dict[str, str]:
    # A constraint that somebody set for other installations would have pip refuse or choose.
    return {name: value for name, value in os.environ.items() if name not in ("PIP_CONSTRAINT", "PIP_REQUIREMENT")}
