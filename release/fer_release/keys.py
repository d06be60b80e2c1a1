"""Signing keys: one private Ed25519 key per file, in a folder that is never served.

A file is named ``<role>-<start of the key id>.pem``, has mode 0600, and is encrypted if there is a passphrase. Keys of
different roles can be kept on different machines: a command needs only those of the roles that it signs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from fer_edge.errors import InputError, OutputError, reason_of
from fer_edge.system.files import atomic_path, read_regular

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_KEY_BYTES = 1 << 16
_NAMED_DIGITS = 12
"""Digits of the key id in a file's name: enough to find it, and short enough to type."""


def create_key(folder: Path, role: str, passphrase: bytes | None) -> CryptoSigner:
    """Create a key for ``role``, write it to ``folder``, and return it.

    Raises:
        OutputError: If the file cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    signer = CryptoSigner(private)
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot create the folder: {reason_of(error)}") from None
    path = _path(folder, role, signer.public_key.keyid)
    with atomic_path(path, private=True) as temporary, temporary.open("wb") as stream:
        stream.write(pem)
        stream.flush()
        os.fsync(stream.fileno())
    return signer


def load_keys(folder: Path, role: str, key_ids: Iterable[str], passphrase: bytes | None) -> list[CryptoSigner]:
    """Return the keys of ``role`` among ``key_ids`` whose files are in ``folder``.

    Raises:
        InputError: If a file can be read by others, is damaged, or the passphrase is missing or wrong.
    """
    found = []
    for key_id in key_ids:
        path = _path(folder, role, key_id)
        if path.is_file():
            signer = _load(path, passphrase)
            if signer.public_key.keyid != key_id:
                raise InputError(f"{path}: contains another key than its name says; restore the file from a backup")
            found.append(signer)
    return found


def _load(path: Path, passphrase: bytes | None) -> CryptoSigner:
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise InputError(f"{path}: other users can read this private key: chmod 600 {path}")
        pem = read_regular(path, _MAX_KEY_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot read the key: {reason_of(error)}") from None
    # cryptography refuses a passphrase for a file that is not encrypted.
    secret = passphrase if b"ENCRYPTED" in pem else None
    try:
        private = load_pem_private_key(pem, secret)
    except TypeError:
        raise InputError(f"{path}: the key is encrypted; pass --passphrase-file") from None
    except ValueError:
        problem = "wrong passphrase, or a damaged file" if secret else "not a private key in PEM format"
        raise InputError(f"{path}: cannot load the key: {problem}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise InputError(f"{path}: not an Ed25519 key; create one with `fer-edge release rotate-key`")
    return CryptoSigner(private)


def _path(folder: Path, role: str, key_id: str) -> Path:
    return folder / f"{role}-{key_id[:_NAMED_DIGITS]}.pem"
