"""Download the wheels for a device once with pip, cache them, and check their SHA-256 at every use.

A wheel's file name contains its package, version, Python and platform (binary distribution format,
packaging.python.org, "File name convention"), so the cache folder needs no index.
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
"""The manylinux tags up to the one that LiteRT needs; Bookworm has glibc 2.36."""
_WHEEL = re.compile(r"([^-]+)-([^-]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl")
_SECONDS = 1800.0
"""Timeout for one wheel: the largest has 36 MB, and the connection may be slow."""


def pip_command(action: str, purpose: str) -> list[str]:
    """Return the words that start pip; ``purpose`` begins the message of the InputError if pip is missing."""
    if importlib.util.find_spec("pip") is None:
        raise InputError(f"{purpose}: {sys.executable} -m ensurepip")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return [*pip, action, "--quiet", "--no-deps"]


def wheels_folder(release: Release, machine: str, cache: Path | None = None) -> Path:
    """Return the cache folder for ``release`` on ``machine``, below ``cache`` (default: the user's cache folder)."""
    return (cache or cache_folder()) / "wheels" / f"{release.name}-{machine}"


def collect(
    release: Release,
    machine: str = "aarch64",
    *,
    cache: Path | None = None,
    force: bool = False,
    updates: bool = True,
    report: Callable[[str], object] = lambda line: None,
) -> list[Path]:
    """Return each wheel of the lock, in its order, with pip last; only missing wheels need the network.

    Args:
        release: the system that the wheels are for.
        machine: its processor.
        cache: cache folder (default: the user's).
        force: delete wheels with a wrong sha256 and download them again, instead of refusing them.
        updates: include the packages of signed updates.
        report: called with one line for each step.

    Raises:
        CheckFailedError: if a wheel's sha256 is not in the lock.
        InputError: if pip is missing or cannot download a wheel.
        OutputError: if the folder cannot be written.
    """
    folder = wheels_folder(release, machine, cache)
    found = []
    for pin in release.pins(updates=updates):
        wheel = find_wheel(folder, pin, release, machine)
        if wheel is not None and file_sha256(wheel) not in pin.sha256:
            if not force:
                raise CheckFailedError(
                    f"{wheel}: its sha256 is not in the lock: damaged or replaced; fer-edge flash wheels --force"
                    " downloads it again"
                )
            report(f"{wheel.name}: its sha256 is not the lock's: deleted")
            wheel.unlink()
            wheel = None
        if wheel is None:
            wheel = _fetch(pin, release, machine, folder)
            report(f"{wheel.name}: downloaded, {size(wheel.stat().st_size)}")
        found.append(wheel)
    return found


def find_wheel(folder: Path, pin: Pin, release: Release, machine: str) -> Path | None:
    """Return the file in ``folder`` whose name matches ``pin`` on that system; None if there is none."""
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
    """Download a wheel; it gets its name in ``folder`` only after it is complete and checked."""
    command = pip_command("download", "downloading wheels needs pip in this environment")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as passing:
            (listed := Path(passing) / "requirements.txt").write_text(pin.as_requirement() + "\n", encoding="utf-8")
            _download(
                pin, [*command, *_system_words(release, machine), "--dest", passing, "--requirement", str(listed)]
            )
            wheel = find_wheel(Path(passing), pin, release, machine)
            # pip has checked the hash already; do not rely on it.
            if wheel is None or file_sha256(wheel) not in pin.sha256:
                raise CheckFailedError(f"pip downloaded no {pin.name} {pin.version} for {machine} that is in the lock")
            shutil.move(wheel, folder / wheel.name)
            return folder / wheel.name
    except OSError as error:
        raise OutputError(f"{folder}: cannot write wheels there: {error.strerror}") from None


def _system_words(release: Release, machine: str) -> list[str]:
    words = ["--require-hashes", "--only-binary=:all:", "--retries=2", "--implementation=cp"]
    words += [f"--python-version={release.python}"]
    words += [f"--abi={abi}" for abi in (f"cp{release.python.replace('.', '')}", "abi3", "none")]
    return words + [f"--platform=manylinux{glibc}_{machine}" for glibc in _GLIBC]


def _download(pin: Pin, command: Sequence[str]) -> None:
    """Run pip. Raises InputError with pip's error message."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{pin.name} {pin.version}: no download within {_SECONDS / 60:.0f} minutes; try again"
        ) from None
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        said = complaints[0].removeprefix("ERROR: ") if complaints else f"pip ended with {done.returncode}"
        raise InputError(f"{pin.name} {pin.version}: cannot be downloaded: {said}; check the network and try again")


def _environment() -> dict[str, str]:
    # A user's constraints for other installations would change or prevent the download.
    return {name: value for name, value in os.environ.items() if name not in ("PIP_CONSTRAINT", "PIP_REQUIREMENT")}
