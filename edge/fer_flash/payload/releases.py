"""The supported systems: their Python, the processors with wheels, and the locked packages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import InputError
from fer_flash.image.stock_system import PYTHONS

MACHINES = ("aarch64", "x86_64")
"""Processors, as ``platform.machine`` names them. The lock files are made for aarch64, the Pi's processor; they hold
the hashes of the wheels for every platform, so they also serve x86_64."""

UPDATE_PACKAGES = frozenset(("securesystemslib", "tuf", "urllib3"))
"""The locked packages that only the extra ``update`` needs; a test compares them with the packages' metadata."""

_BLOCK = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+) \\((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)$", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """A package of a lock file: its normalized name (PEP 503), its version, and the sha256 of each of its files."""

    name: str
    version: str
    sha256: frozenset[str]

    def as_requirement(self) -> str:
        """Return one line for pip's ``--require-hashes`` mode."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{one}" for one in sorted(self.sha256))])


@dataclass(frozen=True, slots=True)
class Release:
    """A release of Raspberry Pi OS: Debian's code name, its Python such as ``3.11``, and its lock files."""

    name: str
    python: str
    locks: tuple[Path, ...]

    def pins(self, *, updates: bool = True) -> list[Pin]:
        """Return the packages of the lock files, including pip; those of signed updates only with ``updates``."""
        pins = [pin for lock in self.locks for pin in parse_lock(lock.read_text(encoding="utf-8"))]
        return [pin for pin in pins if updates or pin.name not in UPDATE_PACKAGES]


_LOCKS = Path(__file__).parents[1] / "locks"
RELEASES = {
    name: Release(name, python, (_LOCKS / f"pi-{name}.txt", _LOCKS / "pip.txt")) for name, python in PYTHONS.items()
}


def release_named(name: str) -> Release:
    """Return the release of that name. Raises InputError if FER-Edge does not support it."""
    if name not in RELEASES:
        raise InputError(f"{name}: unknown release; FER-Edge supports {' and '.join(RELEASES)}, 64-bit")
    return RELEASES[name]


def parse_lock(text: str) -> list[Pin]:
    """Return the packages of a lock file as ``uv pip compile --generate-hashes`` writes it, without markers.

    Raises ValueError for a line that is not understood, since that package would not be installed.
    """
    rest = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    pins = [Pin(name, version, frozenset(_HASH.findall(hashes))) for name, version, hashes in _BLOCK.findall(rest)]
    if _BLOCK.sub("", rest).strip():
        raise ValueError(f"not understood: {_BLOCK.sub('', rest).strip().splitlines()[0]}")
    return pins
