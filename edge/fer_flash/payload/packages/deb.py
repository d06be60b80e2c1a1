"""A Debian package file, and its record in the cache."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fer_edge.errors import CheckFailedError
from fer_edge.model.bundle import file_sha256

_FIELDS = ("Package", "Version", "Architecture", "Installed-Size")
_FILE = re.compile(r"[A-Za-z0-9.+~%_-]+\.deb")  # apt writes a colon of the version as %3a
FORMAT = 2
"""Format of the records of a cache folder."""


class Deb(msgspec.Struct, frozen=True, rename={"path": "file"}):
    """A package file; ``installed_kib`` is its installed size according to its control file.

    In a record, ``path`` is only the name of the file. The patterns are those of deb-control(5) and deb-version(7).
    """

    name: Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9+.-]+\Z")]
    version: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9.+:~-]+\Z")]
    architecture: Annotated[str, Meta(pattern=r"\A[a-z0-9-]+\Z")]
    installed_kib: Annotated[int, Meta(ge=0)]
    path: Path
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]

    def as_line(self) -> str:
        """Return its line in the payload's ``packages.txt``: dpkg-query(1)'s name for it, its version, its file."""
        name = self.name if self.architecture == "all" else f"{self.name}:{self.architecture}"
        return f"{name} {self.version} {self.path.name}\n"


class _Record(msgspec.Struct):
    format: int
    debs: list[Deb]


def record_of(debs: Sequence[Deb]) -> bytes:
    """Return the record of the packages of a folder, as JSON."""
    data = msgspec.json.encode(_Record(FORMAT, list(debs)), enc_hook=lambda path: path.name)
    return msgspec.json.format(data, indent=2) + b"\n"


def debs_of_record(data: bytes, folder: Path) -> list[Deb]:
    """Return the packages of the record ``data`` of ``folder``. Raises ValueError if it is invalid."""
    return msgspec.json.decode(data, type=_Record, dec_hook=partial(_path_in, folder)).debs


def _path_in(folder: Path, _: type, name: Any) -> Path:
    if not (isinstance(name, str) and _FILE.fullmatch(name)):
        raise ValueError(f"file: {name!r}")
    return folder / name


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
        return msgspec.convert(record, Deb, dec_hook=partial(_path_in, path.parent))
    except (KeyError, ValueError) as error:
        said = (done.stderr.splitlines() or [f"unexpected control fields ({error})"])[0]
        raise CheckFailedError(f"{path.name}: not a Debian package: {said}") from None
