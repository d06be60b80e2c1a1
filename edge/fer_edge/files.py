"""Writing files so that nothing half-written is ever left under its final name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fer_edge.errors import OutputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` when the block ends well, and vanishes when not.

    Raises OutputError when the folder is missing or not writable, or the disk is full.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give a file name")
    if path.exists() and not path.is_file():
        # A device or a pipe, such as /dev/null: write into it; a rename would put a file in its place.
        yield path
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp" + path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot write there: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes 0600; what lands under the final name follows the user's umask like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path}: cannot write it: {error.strerror or error}") from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


class PendingFile:
    """A file that is written beside its final name and takes it on ``commit``, or vanishes on ``discard``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        self.temporary = self._stack.enter_context(atomic_path(path))

    def commit(self) -> None:
        """Put the file in its place; harmless when called again. Raises OutputError."""
        self._stack.close()

    def discard(self) -> None:
        """Remove what was written; an older file under the final name stays."""
        reason = OutputError("discarded")
        try:
            self._stack.__exit__(OutputError, reason, None)
        except OutputError as error:
            if error is not reason:
                raise


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, flushed to the medium, or leave what was there. Raises OutputError."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, as ``write_bytes_atomically`` does."""
    write_bytes_atomically(path, text.encode("utf-8"))
