"""A file of the payload, before it is anywhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fer_edge.model.bundle import file_sha256


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A file of the payload at ``path`` below its folder, by "/"; ``data`` are its bytes, or the file that has them.

    ``secret`` is what nobody else may read, and what is to be gone from the card after use.
    """

    path: str
    data: bytes | Path
    secret: bool = False

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data) if isinstance(self.data, bytes) else self.data.stat().st_size

    def sha256(self) -> str:
        """Of its bytes, as lower-case hex."""
        return hashlib.sha256(self.data).hexdigest() if isinstance(self.data, bytes) else file_sha256(self.data)

    def read(self) -> bytes:
        """Its bytes."""
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()
