"""Writing files so that nothing half-written is ever left under its final name."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fer_edge.errors import FerEdgeError, OutputError, reason_of

_PRIVATE, _AS_THE_UMASK_SAYS = 0o600, 0o666


@contextmanager
def atomic_path(path: Path, *, private: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` when the block ends well, and vanishes when not.

    A link stays, and what it leads to is replaced; a file that is replaced keeps its permissions. What is ``private``
    is its owner's alone, from the first byte on, and never goes into a device or a pipe. Raises OutputError when the
    folder is missing or not writable, or the disk is full.
    """
    try:
        final, mode = _look_at(path)
        if private and final is None:
            raise OutputError(f"{path}: is no regular file; give a file's name")
        mode = _PRIVATE if private else mode
        temporary = path if final is None else _create_beside(final, _PRIVATE if private else _AS_THE_UMASK_SAYS)
    except FerEdgeError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise OutputError(f"{path}: cannot write there: {reason_of(error)}") from error
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        if final is not None:
            temporary.replace(final)
    except (FerEdgeError, BrokenPipeError):  # a reader that has gone is the command's to answer
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot write it: {reason_of(error)}") from error
    finally:
        if final is not None:
            with suppress(OSError):  # it has its final name, or the disk takes nothing at all any more
                temporary.unlink()


def file_identity(path: Path) -> tuple[int, int] | str:
    """Equal for two paths that lead to one file, through links and other spellings, also before it exists."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):  # ValueError: a name that no file can have
            return os.path.realpath(path)
        return str(path)
    return status.st_dev, status.st_ino


def _look_at(path: Path) -> tuple[Path | None, int | None]:
    """The file that ``path`` leads to, and its permissions if it exists; None and None for a device or a pipe."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give a file name")
    if path.is_file():
        return Path(os.path.realpath(path)), stat.S_IMODE(path.stat().st_mode)
    # A device or a pipe, such as /dev/null: write into it; a rename would put a file in its place.
    return (None if path.exists() else Path(os.path.realpath(path))), None


def _create_beside(path: Path, mode: int) -> Path:
    """A new file with the same ending, which some writers go by, and the permissions ``mode`` less the umask's."""
    while True:
        # Cut, since a name may have 255 bytes in all.
        name = f".{path.name[:40]}.{secrets.token_hex(4)}.tmp{path.suffix[:8]}"
        with suppress(FileExistsError):
            os.close(os.open(path.with_name(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            return path.with_name(name)


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
