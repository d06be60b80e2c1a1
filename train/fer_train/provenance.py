"""Which code a result came from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fer_edge import __version__


def git_revision() -> str:
    """The checkout's commit, ``-dirty`` when files differ from it; ``v<version>`` when this is no checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        # An installed copy may lie inside somebody else's repository: only a tracked file proves it is ours.
        tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"v{__version__}"
    return done.stdout.strip()
