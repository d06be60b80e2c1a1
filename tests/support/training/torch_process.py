"""A Python with Keras on PyTorch: a process has only one Keras backend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_on_torch(code: str, *arguments: str | Path) -> None:
    """Run ``code`` there, with ``np``, ``Path``, ``keras`` and ``torch``; its assertions are those of the test."""
    prelude = """
import sys
import numpy as np
from pathlib import Path
from fer_train.backend import load_keras
keras = load_keras("torch")
import torch
"""
    done = subprocess.run(
        [sys.executable, "-c", prelude + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
