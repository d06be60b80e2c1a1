"""Programs that stand where the project expects another."""

from __future__ import annotations

from pathlib import Path


def script(path: Path, text: str) -> Path:
    """A shell script at ``path`` that can be started."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
