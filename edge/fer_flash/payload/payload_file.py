"""A file of the payload, before it is written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fer_edge.model.bundle import file_sha256


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A file of the payload.

    Attributes:
        path: path below the payload's folder, separated by "/".
        data: its content, or a file with this content.
        secret: only the owner may read it, and it is removed from the card after use.
    """

    path: str
    data: bytes | Path
    secret: bool = False

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.data) if isinstance(self.data, bytes) else self.data.stat().st_size

    def sha256(self) -> str:
        """Return the SHA-256 of the content as lower-case hex."""
        return hashlib.sha256(self.data).hexdigest() if isinstance(self.data, bytes) else file_sha256(self.data)

    def read(self) -> bytes:
        """Return the content."""
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()
