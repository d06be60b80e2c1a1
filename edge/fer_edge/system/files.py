"""Atomic file writes: a file appears under its final name only when it is complete."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fer_edge.errors import FerEdgeError, OutputError, reason_of

_PRIVATE_MODE, _DEFAULT_MODE = 0o600, 0o666


@contextmanager
def atomic_path(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` that replaces ``path`` if the block succeeds, and is deleted if it fails.

    A symbolic link stays, and its target is replaced. A replaced file keeps its permissions. Devices and pipes are
    written directly.

    Args:
        path: The final path.
        private: Give only the owner access, from the first byte on; refuse devices and pipes.

    Raises:
        OutputError: if the folder is missing or not writable, or the disk is full.
    """
    try:
        final, mode = _resolve(path)
        if private and final is None:
            raise OutputError(f"{path}: not a regular file; choose another file name")
        mode = _PRIVATE_MODE if private else mode
        temporary = path if final is None else _create_next_to(final, _PRIVATE_MODE if private else _DEFAULT_MODE)
    except FerEdgeError:
        raise
    except (OSError, ValueError) as error:  # ValueError: not a valid file name
        raise OutputError(f"{path}: cannot be written: {reason_of(error)}") from error
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        if final is not None:
            temporary.replace(final)
    except (FerEdgeError, BrokenPipeError):  # the command handles a closed pipe
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {reason_of(error)}") from error
    finally:
        if final is not None:
            with suppress(OSError):  # it was renamed, or the disk rejects all changes
                temporary.unlink()


def create_folder(folder: Path) -> None:
    """Create ``folder`` and its parents if they do not exist. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot create the folder: {error.strerror}") from error


def file_identity(path: Path) -> tuple[int, int] | str:
    """Return a value that is equal for all paths of the same file, through links and even before the file exists."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):  # ValueError: not a valid file name
            return os.path.realpath(path)
        return str(path)
    return status.st_dev, status.st_ino


def _resolve(path: Path) -> tuple[Path | None, int | None]:
    """Return the file behind ``path``, and its permissions if it exists; None and None for a device or a pipe."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; choose a file name")
    if path.is_file():
        return Path(os.path.realpath(path)), stat.S_IMODE(path.stat().st_mode)
    # A device or a pipe such as /dev/null is written directly, because a rename would replace it with a file.
    return (None if path.exists() else Path(os.path.realpath(path))), None


def _create_next_to(path: Path, mode: int) -> Path:
    """Create a file with the same suffix, which some writers need, and the permissions ``mode`` minus the umask."""
    while True:
        # Truncated, because a file name may have at most 255 bytes.
        name = f".{path.name[:40]}.{secrets.token_hex(4)}.tmp{path.suffix[:8]}"
        with suppress(FileExistsError):
            os.close(os.open(path.with_name(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            return path.with_name(name)


class PendingFile:
    """A file that is written next to its final path; ``commit`` moves it there, ``discard`` deletes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        self.temporary = self._stack.enter_context(atomic_path(path))

    def commit(self) -> None:
        """Move the file to its final path. Idempotent. Raises OutputError."""
        self._stack.close()

    def discard(self) -> None:
        """Delete what was written; an older file at the final path stays."""
        self._stack.__exit__(OutputError, OutputError("discarded"), None)


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` and flush it to the disk. If this fails, the old content stays. Raises OutputError."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, like ``write_bytes_atomically``."""
    write_bytes_atomically(path, text.encode("utf-8"))
