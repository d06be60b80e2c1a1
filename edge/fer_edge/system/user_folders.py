"""Where a user's own files of this project lie."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for this project: ``$XDG_CACHE_HOME/fer-edge``, else ``~/.cache/fer-edge``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification has relative paths ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path("~/.cache").expanduser()
    return root / "fer-edge"
