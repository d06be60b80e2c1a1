"""The payloads in a signed repository: a list of them, and their files, each stored once by its hash.

``fer-edge release publish --payload`` writes them and ``fer-edge deploy --from-release`` reads them. A repository is
public, and the same for all devices, so its payloads contain the program only: no settings, secrets or models.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fer_edge.model.manifest import decode_format
from fer_edge.update.format import Version, version_key

LIST_TARGET = "payloads.json"
"""Name of the target that lists the payloads."""

# No path can leave the payload's folder, or be that of settings or secrets.
ProgramPath = Annotated[
    str,
    Meta(
        pattern=r"\A(wheels/[A-Za-z0-9_][A-Za-z0-9_.+-]*\.whl|[a-z_]+\.sh|payload\.conf|requirements\.txt|SHA256SUMS)\Z",
        extra={"allowed": "a wheel, a script, payload.conf, requirements.txt or SHA256SUMS"},
    ),
]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", extra={"allowed": "64 hexadecimal digits"})]
Word = Annotated[str, Meta(pattern=r"\A[a-z0-9_]{1,32}\Z", extra={"allowed": "up to 32 lower-case letters and digits"})]


class SignedPayload(msgspec.Struct, frozen=True):
    """One payload: the program's version, the system that it is for, and the SHA-256 of each file by its path."""

    version: Version
    release: Word
    machine: Word
    files: dict[ProgramPath, Sha256]

    @property
    def system(self) -> str:
        """Debian's code name and the processor, such as ``trixie-aarch64``."""
        return f"{self.release}-{self.machine}"


class SignedPayloads(msgspec.Struct, frozen=True):
    """The payloads of a repository, oldest first."""

    format: Literal[1]
    payloads: list[SignedPayload]

    def newest(self) -> dict[str, SignedPayload]:
        """Return the payload with the highest version for each system."""
        return {payload.system: payload for payload in sorted(self.payloads, key=lambda one: version_key(one.version))}


def file_target(sha256: str) -> str:
    """Return the name of the target with the content of this hash: versions share the wheels that did not change."""
    return f"payload/{sha256}"


def parse_payloads(data: bytes, where: str) -> SignedPayloads:
    """Return the list in ``data``. Raises ModelError if the format is newer, or the content is invalid."""
    return decode_format(data, where, SignedPayloads)
