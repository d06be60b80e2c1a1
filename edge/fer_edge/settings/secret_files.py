"""Read secrets (passwords and tokens) from separate files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fer_edge.errors import ConfigError
from fer_edge.system.files import open_regular

MIN_TOKEN_LENGTH = 16
"""Minimum length in characters of a token that protects a network service."""

_LONGEST = 4096
_CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""Environment variable with the folder of the credentials that ``LoadCredential=`` names; see systemd.exec(5)."""


def read_secret(name: str, key: str) -> str:
    """Read the secret in a file.

    Args:
        name: Path of the file. A name without a folder is a systemd credential if the process has one of that name.
            Any other file must be readable by its owner only.
        key: The setting's name, for error messages.

    Returns:
        The secret, without the line ending.

    Raises:
        ConfigError: If the file cannot be read, if group or others may read it, or if it does not contain a secret on
            one line.
    """
    credential = _credential(name)
    path = credential or Path(name)
    return secret_in(read_private(path, key, check_mode=credential is None), str(path), key)


def read_private(path: Path, key: str, *, check_mode: bool = True) -> bytes:
    """Return the first 4 KiB, and one byte more, of a file that with ``check_mode`` only its owner may read.

    Raises:
        ConfigError: If the file cannot be read, or if group or others may read it.
    """
    try:
        with open_regular(path) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(_LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None
    if check_mode:
        refuse_shared(mode, path, key)
    return data


def refuse_shared(mode: int, path: Path, key: str) -> None:
    """Raise ConfigError if group or others may read the file ``path`` with this ``mode``."""
    # Windows has no permission bits. Python reports made-up ones there, with which every file would be refused.
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ConfigError(f"{key}: other users can read {path}, which contains a secret: chmod 600 {path}")


def secret_in(data: bytes, where: str, key: str) -> str:
    """Return the secret in ``data``, without the line ending. Errors name the setting ``key`` and the file ``where``.

    Raises:
        ConfigError: If ``data`` is not UTF-8 text of one line.
    """
    try:
        secret = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {where} is not a text file in UTF-8") from None
    if not secret or len(data) > _LONGEST or not secret.isprintable():
        raise ConfigError(f"{key}: {where} must contain only the secret, on one line of at most {_LONGEST} bytes")
    return secret


def read_token(name: str, key: str) -> str:
    """Read a token as ``read_secret`` does, and check its length.

    Raises:
        ConfigError: As ``read_secret``, or if the token has fewer than ``MIN_TOKEN_LENGTH`` characters.
    """
    token = read_secret(name, key)
    if len(token) < MIN_TOKEN_LENGTH:
        raise ConfigError(f"{key}: the token must have at least {MIN_TOKEN_LENGTH} characters: openssl rand -hex 16")
    return token


def is_for_the_service_alone(name: str) -> bool:
    """Return whether ``name`` is a systemd credential that only the service can read, not this process."""
    return os.sep not in name and not Path(name).exists() and _CREDENTIALS not in os.environ


def _credential(name: str) -> Path | None:
    folder = os.environ.get(_CREDENTIALS)
    if folder is None or os.sep in name:
        return None
    path = Path(folder) / name
    return path if path.is_file() else None
