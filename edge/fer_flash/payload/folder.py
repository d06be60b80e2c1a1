"""Write a payload to a folder, and read it back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_edge.system.files import write_bytes_atomically
from fer_flash.payload.payload_file import PayloadFile

_FACTS = frozenset({"version", "release", "machine", "installed_kib"})


def write_payload(payload: Iterable[PayloadFile], folder: Path) -> None:
    """Write the payload to ``folder``, which must be empty or missing; secrets get mode 0600.

    Raises:
        InputError: if the folder is not empty.
        OutputError: if it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not empty; use an empty or a new folder")
    try:
        for file in payload:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.secret:
                path.touch(mode=0o600)  # the write below keeps these permissions
            write_bytes_atomically(path, file.read())
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the payload there: {error.strerror or error}") from None


def read_payload(folder: Path) -> tuple[list[PayloadFile], dict[str, str]]:
    """Read a payload that ``write_payload`` wrote; return its files and the values of its ``payload.conf``.

    Raises:
        InputError: if the folder is not a payload.
        CheckFailedError: if a file does not match its SHA-256.
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
                raise InputError(f"{path}: does not belong to this payload: remove it")
            payload.append(PayloadFile(name, path, secret))
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: not a readable payload: {error}") from None
    by_path = {file.path: file for file in payload}
    for name, digest in sums.items():
        if name not in by_path or by_path[name].sha256() != digest:
            raise CheckFailedError(f"{folder / name}: has changed since it was made: write the payload again")
    if not facts.keys() >= _FACTS:
        raise InputError(f"{folder / 'payload.conf'}: values are missing: write the payload again")
    return payload, facts
