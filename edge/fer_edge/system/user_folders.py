"""Folders for the user's own files."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the user's cache folder for this project: ``$XDG_CACHE_HOME/fer-edge``, else ``~/.cache/fer-edge``."""
    return _folder("XDG_CACHE_HOME", "~/.cache")


def config_folder() -> Path:
    """Return the user's folder for settings: ``$XDG_CONFIG_HOME/fer-edge``, else ``~/.config/fer-edge``."""
    return _folder("XDG_CONFIG_HOME", "~/.config")


def state_folder() -> Path:
    """Return the user's folder for what must last: ``$XDG_STATE_HOME/fer-edge``, else ``~/.local/state/fer-edge``."""
    return _folder("XDG_STATE_HOME", "~/.local/state")


def _folder(variable: str, default: str) -> Path:
    base = os.environ.get(variable, "")
    # The XDG base directory specification requires relative paths to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path(default).expanduser()
    return root / "fer-edge"
