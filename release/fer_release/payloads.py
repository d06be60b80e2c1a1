"""Payloads of the program in a repository, for ``fer-edge deploy --from-release``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fer_edge.errors import InputError, ModelError
from fer_edge.settings.explain import explain
from fer_edge.update.format import FORMAT, version_key
from fer_flash.payload.folder import read_payload
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.signed import LIST_TARGET, SignedPayload, SignedPayloads, file_target, parse_payloads

if TYPE_CHECKING:
    from fer_release.repository import KeyStore, Repository

_VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}", flags=re.ASCII)


def publish(repository: Repository, folders: Sequence[Path], keys: KeyStore) -> list[SignedPayload]:
    """Add the payloads in ``folders``, which ``fer-edge flash payload`` wrote, to ``repository``.

    Raises:
        CheckFailedError: If a file of a payload does not match its SHA-256.
        InputError: If a folder is not a payload of the program alone, its version is taken by another one for the same
            system, or a key is missing.
        OutputError: If a file cannot be written.
    """
    listed = payloads(repository)
    files: dict[str, bytes] = {}
    added: list[SignedPayload] = []
    for folder in folders:
        content, facts = read_payload(folder)
        payload = _described(folder, content, facts)
        for known in listed:
            if (known.version, known.system) == (payload.version, payload.system) and known != payload:
                raise InputError(
                    f"{folder}: another payload of {known.version} for {known.system} was published: raise the version"
                )
        if payload not in listed:
            listed.append(payload)
        added.append(payload)
        for file in content:
            target = file_target(payload.files[file.path])
            if repository.read_target(target) is None:
                files[target] = file.read()
    listed.sort(key=lambda payload: version_key(payload.version))
    files[LIST_TARGET] = msgspec.json.encode(SignedPayloads(FORMAT, listed))
    repository.publish(files, {}, keys)
    return added


def payloads(repository: Repository) -> list[SignedPayload]:
    """Return the payloads in ``repository``, oldest first. Raises InputError if the list is damaged."""
    data = repository.read_target(LIST_TARGET)
    try:
        return [] if data is None else parse_payloads(data, LIST_TARGET).payloads
    except ModelError as error:
        raise InputError(str(error)) from None


def _described(folder: Path, content: Sequence[PayloadFile], facts: dict[str, str]) -> SignedPayload:
    if not _VERSION.fullmatch(facts["version"]):
        raise InputError(
            f"{folder}: the program's version must be three numbers such as 1.2.0, not {facts['version']!r}"
        )
    table = {
        **{key: facts[key] for key in ("version", "release", "machine")},
        "files": {file.path: file.sha256() for file in content},
    }
    try:
        return msgspec.convert(table, SignedPayload)
    except ValueError as error:
        raise InputError(
            f"{folder}: a repository is public, and its payloads contain the program only; write this one without"
            f" --settings and --bundle ({explain(error, table, SignedPayload)})"
        ) from None
