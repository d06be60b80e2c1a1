"""A Debian package file, and its record in the cache."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import CheckFailedError
from fer_edge.model.bundle import file_sha256

_FIELDS = ("Package", "Version", "Architecture", "Installed-Size")
# deb-control(5), deb-version(7); the file names are those of apt, which writes a colon as %3a.
_PATTERNS = {
    "name": r"[a-z0-9][a-z0-9+.-]+",
    "version": r"[A-Za-z0-9.+:~-]+",
    "architecture": r"[a-z0-9-]+",
    "file": r"[A-Za-z0-9.+~%_-]+\.deb",
    "sha256": r"[0-9a-f]{64}",
}


@dataclass(frozen=True, slots=True)
class Deb:
    """A package file; ``installed_kib`` is its installed size according to its control file."""

    name: str
    version: str
    architecture: str
    installed_kib: int
    sha256: str
    path: Path

    def as_record(self) -> dict[str, object]:
        """Return its JSON object in the cache's record."""
        return {
            "name": self.name,
            "version": self.version,
            "architecture": self.architecture,
            "installed_kib": self.installed_kib,
            "file": self.path.name,
            "sha256": self.sha256,
        }

    def as_line(self) -> str:
        """Return its line in the payload's ``packages.txt``: dpkg-query(1)'s name for it, its version, its file."""
        name = self.name if self.architecture == "all" else f"{self.name}:{self.architecture}"
        return f"{name} {self.version} {self.path.name}\n"


def deb_from_record(record: Mapping[str, object], folder: Path) -> Deb:
    """Return the package that ``as_record`` described, in ``folder``. Raises ValueError for an invalid record."""
    texts = {key: str(record.get(key, "")) for key in _PATTERNS}
    for key, pattern in _PATTERNS.items():
        if not re.fullmatch(pattern, texts[key]):
            raise ValueError(f"{key}: {texts[key]!r}")
    size = record.get("installed_kib")
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"installed_kib: {size!r}")
    path = folder / texts["file"]
    return Deb(texts["name"], texts["version"], texts["architecture"], size, texts["sha256"], path)


def read_deb(path: Path) -> Deb:
    """Read a package file's control fields with dpkg-deb. Raises CheckFailedError if it is not a valid package."""
    done = subprocess.run(
        ["dpkg-deb", "--field", str(path), *_FIELDS], capture_output=True, text=True, errors="replace", check=False
    )
    fields = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    try:
        record = {
            "name": fields["Package"],
            "version": fields["Version"],
            "architecture": fields["Architecture"],
            "installed_kib": int(fields.get("Installed-Size", "0")),  # optional in deb-control(5)
            "file": path.name,
            "sha256": file_sha256(path),
        }
        return deb_from_record(record, path.parent)
    except (KeyError, ValueError) as error:
        said = (done.stderr.splitlines() or [f"unexpected control fields ({error})"])[0]
        raise CheckFailedError(f"{path.name}: not a Debian package: {said}") from None
