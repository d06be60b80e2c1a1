"""A file that is written to the boot partition."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BootFile:
    """A file of the boot partition; ``secret`` files are not shown and are removed after use."""

    path: str
    data: bytes = field(repr=False)
    secret: bool = False
