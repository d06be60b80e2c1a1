"""Secrets, which stand in files of their own: passwords and tokens."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fer_edge.errors import ConfigError

SHORTEST_TOKEN = 16
"""Characters of a token that strangers may try to guess."""

_LONGEST = 4096
_CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what ``LoadCredential=`` names; see systemd.exec(5)."""


def read_secret(name: str, key: str) -> str:
    """The secret in the file ``name``, without the end of its line; ``key`` names the setting in errors.

    A name without a folder is a systemd credential where the process was given one by that name. Any other file is
    refused when others than its owner may read it. Raises ConfigError.
    """
    path = _credential(name) or Path(name)
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(_LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None
    if path != _credential(name):
        _check_private(mode, path, key)
    return secret_in(data, str(path), key)


def secret_in(data: bytes, where: str, key: str) -> str:
    """The secret in ``data``, which a file ``where`` holds, without the end of its line. Raises ConfigError."""
    try:
        secret = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {where} holds no text") from None
    if not secret or len(data) > _LONGEST or not secret.isprintable():
        raise ConfigError(
            f"{key}: {where} must hold the secret on one line of at most {_LONGEST} bytes, and nothing else"
        )
    return secret


def _check_private(mode: int, path: Path, key: str) -> None:
    # Windows has no such bits: Python makes them up there, and every file would be refused.
    if os.name == "posix" and stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ConfigError(f"{key}: others may read {path}, which holds a secret: chmod 600 {path}")


def read_token(name: str, key: str) -> str:
    """``read_secret`` of a token that strangers may try to guess: too short a one is refused. Raises ConfigError."""
    token = read_secret(name, key)
    if len(token) < SHORTEST_TOKEN:
        raise ConfigError(f"{key}: the token must have at least {SHORTEST_TOKEN} characters: openssl rand -hex 16")
    return token


def is_for_the_service_alone(name: str) -> bool:
    """Whether ``name`` is a credential that systemd hands to the service, which this process is not."""
    return os.sep not in name and not Path(name).exists() and _CREDENTIALS not in os.environ


def _credential(name: str) -> Path | None:
    folder = os.environ.get(_CREDENTIALS)
    if folder is None or os.sep in name:
        return None
    path = Path(folder) / name
    return path if path.is_file() else None
