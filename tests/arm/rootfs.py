"""The file system of a Raspberry Pi OS release, as far as FER-Edge needs it, in a folder that is kept."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from arm.sandbox import run
from fer_edge.errors import InputError
from support.lock_files import TEST_TOOLS, requirements

CHECKOUT = Path(__file__).parents[2]

_DEBIAN_PACKAGES = "python3-minimal,libpython3-stdlib,libstdc++6"
_MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"


@dataclass(frozen=True, slots=True)
class Suite:
    """A release: Debian's name for it, its Python, and its lock file."""

    name: str
    python: str
    lock: str


SUITES = {
    suite.name: suite for suite in (Suite("bookworm", "3.11", "pi-bookworm"), Suite("trixie", "3.13", "pi-trixie"))
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Folders: the file system, the locked packages, the test tools, .pyc files, board files, the tests' bundle."""

    root: Path
    site: Path
    tools: Path
    bytecode: Path
    board: Path
    tiny_bundle: Path


@contextmanager
def prepared(suite: Suite, cache: Path) -> Iterator[Prepared]:
    """The folders of ``suite`` below ``cache``, made anew when what they are made from has changed.

    Raises InputError where a step fails, or where another run uses them.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{suite.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another make test-arm works in {cache}") from None
        folder = cache / f"{suite.name}-{_fingerprint(suite)}"
        if not folder.exists():
            for outdated in cache.glob(f"{suite.name}-*"):
                shutil.rmtree(outdated)
            _build(suite, cache / f"{suite.name}-unfinished")
            (cache / f"{suite.name}-unfinished").rename(folder)
        yield _folders(folder)


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
    archive = folder / "root.tar"
    # Extracted, not configured: that would take most of an hour under emulation.
    what = ["--quiet", "--arch=arm64", "--variant=extract", f"--include={_DEBIAN_PACKAGES}"]
    run(["mmdebstrap", *what, f"--hook-dir={_MERGED_USR}", suite.name, archive])
    run(["tar", "-x", "--no-same-owner", "--exclude=./dev/*", "-C", folders.root, "-f", archive])
    archive.unlink()
    print("… wheels", flush=True)
    tools = folder / "tools.txt"
    tools.write_text(_locked_tools())
    # pip holds what it installs to its own Python, although --python-version names another.
    platform = ["--only-binary=:all:", "--implementation=cp", f"--python-version={suite.python}"]
    platform.append("--ignore-requires-python")
    for glibc in ("2_17", "2_27", "2_28"):
        platform.append(f"--platform=manylinux_{glibc}_aarch64")
    for abi in (f"cp{suite.python.replace('.', '')}", "abi3", "none"):
        platform.append(f"--abi={abi}")
    platform.append("--platform=manylinux2014_aarch64")
    for target, lock in ((folders.site, CHECKOUT / "locks" / f"{suite.lock}.txt"), (folders.tools, tools)):
        _pip(target, "--require-hashes", *platform, "-r", lock)
    print("… a bundle for the tests", flush=True)
    # In a process of its own: TensorFlow has much to say on stderr.
    make = "import sys, pathlib, support.bundles as b; b.make_tiny_bundle(pathlib.Path(sys.argv[1]))"
    run([sys.executable, "-c", make, folders.tiny_bundle])


def _pip(target: Path, *arguments: str | Path) -> None:
    run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", target, *arguments]
    )


def _locked_tools() -> str:
    return "\n".join(requirements("dev", only=TEST_TOOLS).values()) + "\n"


def _fingerprint(suite: Suite) -> str:
    inputs = [Path(__file__), CHECKOUT / "locks" / f"{suite.lock}.txt", CHECKOUT / "tests" / "support" / "bundles.py"]
    text = _locked_tools().encode() + b"".join(path.read_bytes() for path in inputs)
    return hashlib.sha256(text).hexdigest()[:12]
