"""A payload as a folder on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_edge.system.files import write_bytes_atomically
from fer_flash.payload.payload_file import PayloadFile

_FACTS = frozenset({"version", "release", "machine", "installed_kib"})


def write_payload(payload: Iterable[PayloadFile], folder: Path) -> None:
    """Put the payload into ``folder``, which must be empty or not there; a secret is its owner's alone.

    Raises InputError for a folder that holds something, OutputError where it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: holds something already; name an empty folder, or one that is not there")
    try:
        for file in payload:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.secret:
                path.touch(mode=0o600)  # it keeps its permissions
            write_bytes_atomically(path, file.read())
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the payload there: {error.strerror or error}") from None


def read_payload(folder: Path) -> tuple[list[PayloadFile], dict[str, str]]:
    """A payload that ``write_payload`` wrote, held to its sums, and the facts of its ``payload.conf``.

    Raises InputError where there is none, CheckFailedError where a file is not what it was.
    """
    try:
        lines = [line.partition("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
        sums = {name: digest for digest, _, name in lines}
        facts = dict(line.split("=", 1) for line in (folder / "payload.conf").read_text().splitlines())
        payload = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            secret = name not in sums and name != "SHA256SUMS"
            if secret and name != "config.toml" and not name.startswith("secrets/"):
                raise InputError(f"{path}: no part of this payload: take it away")
            payload.append(PayloadFile(name, path, secret))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: no payload that can be read: {error}") from None
    by_path = {file.path: file for file in payload}
    for name, digest in sums.items():
        if name not in by_path or by_path[name].sha256() != digest:
            raise CheckFailedError(f"{folder / name}: not as it was made: write the payload again")
    if not facts.keys() >= _FACTS:
        raise InputError(f"{folder / 'payload.conf'}: not as FER-Edge writes it: write the payload again")
    return payload, facts
