"""A file that is written to the boot partition."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BootFile:
    """``path`` is relative to the boot partition; ``secret`` says that ``data`` may not be shown, nor left there."""

    path: str
    data: bytes = field(repr=False)
    secret: bool = False
