"""Folders for the user's own files."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the user's cache folder for this project: ``$XDG_CACHE_HOME/fer-edge``, else ``~/.cache/fer-edge``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification requires relative paths to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path("~/.cache").expanduser()
    return root / "fer-edge"
