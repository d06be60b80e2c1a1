"""The version of the code that produced a result."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fer_edge import __version__


def git_revision() -> str:
    """Return the checkout's commit, with ``-dirty`` if files differ from it; ``v<version>`` outside of a checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        # An installed copy can be inside another repository: only a tracked file proves that it is this one.
        tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"v{__version__}"
    return done.stdout.strip()
