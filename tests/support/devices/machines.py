"""Fake machine states: trees of files like sysfs and procfs, and a `vcgencmd`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    """Write ``files`` below ``root`` and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="latin-1")
    return root


def write_vcgencmd(folder: Path, answer: str, monkeypatch: pytest.MonkeyPatch, script: str = "") -> Path:
    """Put a `vcgencmd` on PATH that prints the returned file, initially ``answer``, or runs ``script``.

    It uses only shell built-ins, because PATH may be empty.
    """
    folder.mkdir()
    told = folder / "answer"
    told.write_text(answer)
    command = folder / "vcgencmd"
    command.write_text(
        f'#!/bin/sh\ntest "$1" = get_throttled || exit 2\n{script or f"read line < {told}; echo $line"}\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return told
