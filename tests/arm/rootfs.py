"""The parts of a Raspberry Pi OS file system that FER-Edge needs, in a folder that is kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from arm.sandbox import run
from fer_edge.errors import InputError
from support.environments.fresh_install import lock_path
from support.environments.lock_files import TEST_TOOLS, requirements

CHECKOUT = Path(__file__).parents[2]

_DEBIAN_PACKAGES = "python3-minimal,libpython3-stdlib,libstdc++6"
_MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"


@dataclass(frozen=True, slots=True)
class Suite:
    """A release: Debian's code name, its Python, and its lock file."""

    name: str
    python: str
    lock: str


SUITES = {
    suite.name: suite for suite in (Suite("bookworm", "3.11", "pi-bookworm"), Suite("trixie", "3.13", "pi-trixie"))
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Folders of the file system, locked packages, test tools, .pyc files, board files and the tests' bundle."""

    root: Path
    site: Path
    tools: Path
    bytecode: Path
    board: Path
    tiny_bundle: Path


@contextmanager
def prepared(suite: Suite, cache: Path) -> Iterator[Prepared]:
    """Return the folders of ``suite`` below ``cache``. Raises InputError as ``kept`` does."""
    with kept(cache, suite.name, _made_from(suite), partial(_build, suite)) as folder:
        yield _folders(folder)


@contextmanager
def kept(cache: Path, name: str, made_from: bytes, build: Callable[[Path], None]) -> Iterator[Path]:
    """Return the folder ``name`` below ``cache``, created by ``build`` if ``made_from`` differs from last time.

    Raises InputError if a step fails, or if another run uses the folder.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another run of these tests works in {cache}") from None
        folder = cache / f"{name}-{hashlib.sha256(made_from).hexdigest()[:12]}"
        # If this process is killed, programs that it started may go on writing for a while. They must neither fail the
        # deletion at the next start nor write into its folder, so that its name has a number.
        for outdated in set(cache.glob(f"{name}-*")) - {folder}:
            shutil.rmtree(outdated, ignore_errors=True)
        if not folder.exists():
            unfinished = cache / f"{name}-unfinished-{os.getpid()}"
            unfinished.mkdir()
            try:
                build(unfinished)
                unfinished.rename(folder)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
        yield folder


def extract_debian(root: Path, suite: str, arch: str, packages: str) -> None:
    """Extract ``packages`` (separated by commas) of ``suite`` and their dependencies into the folder ``root``.

    They are not configured: under emulation that would take most of an hour.
    """
    archive = root / "root.tar"
    what = ["--quiet", f"--arch={arch}", "--variant=extract", f"--include={packages}", f"--hook-dir={_MERGED_USR}"]
    run(["mmdebstrap", *what, suite, archive])
    run(["tar", "-x", "--no-same-owner", "--exclude=./dev/*", "-C", root, "-f", archive])
    archive.unlink()


def install_wheels(target: Path, python: str, machine: str, *wanted: str | Path) -> None:
    """Install ``wanted``, pip's arguments, into ``target`` for ``python`` (3.11) on ``machine``."""
    # pip checks packages against its own Python, although --python-version names another.
    platform = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", "--ignore-requires-python"]
    for glibc in ("2_17", "2_27", "2_28"):
        platform.append(f"--platform=manylinux_{glibc}_{machine}")
    for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
        platform.append(f"--abi={abi}")
    _pip(target, *platform, f"--platform=manylinux2014_{machine}", *wanted)


def install_project(folder: Path) -> None:
    """Build the wheel of this checkout and install it, alone, into ``folder``."""
    _pip(folder, "--no-build-isolation", CHECKOUT)


def _folders(folder: Path) -> Prepared:
    return Prepared(*(folder / name for name in ("root", "site", "tools", "bytecode", "board", "tiny")))


def _build(suite: Suite, folder: Path) -> None:
    folders = _folders(folder)
    for path in (folders.root, folders.bytecode, folders.board):
        path.mkdir(parents=True)
    print(f"Preparing {suite.name} for aarch64 (once): Debian packages", flush=True)
    extract_debian(folders.root, suite.name, "arm64", _DEBIAN_PACKAGES)
    print("… wheels", flush=True)
    tools = folder / "tools.txt"
    tools.write_text(_locked_tools())
    for target, lock in ((folders.site, lock_path(suite.lock)), (folders.tools, tools)):
        install_wheels(target, suite.python, "aarch64", "--require-hashes", "-r", lock)
    print("… a bundle for the tests", flush=True)
    # In a separate process, because TensorFlow writes a lot to stderr.
    make = "import sys, pathlib, support.models.bundles as b; b.make_tiny_bundle(pathlib.Path(sys.argv[1]))"
    run([sys.executable, "-c", make, folders.tiny_bundle])


def _pip(target: Path, *arguments: str | Path) -> None:
    run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", target, *arguments]
    )


def _locked_tools() -> str:
    return "\n".join(requirements("dev", only=TEST_TOOLS).values()) + "\n"


def _made_from(suite: Suite) -> bytes:
    inputs = [Path(__file__), lock_path(suite.lock), CHECKOUT / "tests/support/models/bundles.py"]
    return _locked_tools().encode() + b"".join(path.read_bytes() for path in inputs)
