"""tflite-runtime 2.14, the oldest runtime that the models must run on, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.environments.lock_files import requirements

PACKAGES = frozenset({"tflite-runtime", "numpy"})


def make_legacy_environment(folder: Path) -> Path:
    """Make a virtual environment with it in ``folder`` and return its Python; skips where there is no wheel."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime has no wheel for Python 3.12 and later")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(requirements("pi-bookworm-legacy", only=PACKAGES).values()) + "\n")
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", listed]
    pip = [sys.executable, "-m", "pip", "--python", folder]  # ours: a pip of its own takes seconds to set up
    done = subprocess.run([*pip, *install], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"tflite-runtime cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return folder / "bin" / "python"
