"""Output files. They are checked before the work, so that a mistyped path does not cost minutes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fer_edge.errors import OutputError
from fer_edge.system.files import write_text_atomically

STDOUT = Path("-")


def check_writable(path: Path) -> None:
    """Raise OutputError if ``path`` cannot be written."""
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: not a regular file; give a file name, or - for standard output")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f"{path}: cannot write there: {error.strerror}") from error


def check_files(*paths: Path | None) -> None:
    """Raise OutputError if a file cannot be written; None and ``STDOUT`` are no files."""
    for path in paths:
        if path is not None and path != STDOUT:
            check_writable(path)


def check_folder(folder: Path) -> None:
    """Create ``folder`` if it is missing, and check that it is writable. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder: {error.strerror}") from error
    check_writable(folder / "new")


def write(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically. Raises OutputError."""
    # A link stays a link: its target is replaced.
    write_text_atomically(path.resolve(), text)
