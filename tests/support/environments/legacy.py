"""A virtual environment with tflite-runtime 2.14, the oldest runtime that the models must support."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.environments.lock_files import requirements

PACKAGES = frozenset({"tflite-runtime", "numpy"})


def make_legacy_environment(folder: Path) -> Path:
    """Create the environment in ``folder`` and return its Python; skip the test if no wheel can be installed."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime has no wheel for Python 3.12 and later")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(requirements("pi-bookworm-legacy", only=PACKAGES).values()) + "\n")
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", listed]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder,
    ]  # installing another pip would take seconds
    done = subprocess.run([*pip, *install], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"tflite-runtime cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return folder / "bin" / "python"
