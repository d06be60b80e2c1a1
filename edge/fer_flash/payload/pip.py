"""How pip of this environment is called."""

from __future__ import annotations

import importlib.util
import sys

from fer_edge.errors import InputError


def pip_command(action: str, purpose: str) -> list[str]:
    """Return the words that start pip; ``purpose`` begins the message of the InputError if pip is missing."""
    if importlib.util.find_spec("pip") is None:
        raise InputError(f"{purpose}: {sys.executable} -m ensurepip")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return [*pip, action, "--quiet", "--no-deps"]
