"""Open files by the names that a user gave, and write files atomically.

Every file that the program opens by a name from outside goes through ``open_regular``, ``read_regular`` or
``open_output``: opening a FIFO could block indefinitely, and reading a device might never end. A file that is written
appears under its final name only when it is complete.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from fer_edge.errors import FerEdgeError, OutputError, reason_of

_PRIVATE_MODE, _DEFAULT_MODE = 0o600, 0o666
_FIFO_GRACE_S = 2.0
"""Seconds to wait for the reader of a FIFO: a script often starts both programs at the same time."""
_FIFO_POLL_S = 0.02
# Windows has neither of the first two, and needs the third.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a disk device"),
)


def open_regular(path: Path) -> BufferedReader:
    """Open the regular file ``path`` for reading, without ever blocking.

    Raises:
        OSError: if it cannot be opened, or is a folder, a FIFO, a socket or a device.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NONBLOCK | _CLOEXEC | _BINARY)
    except ValueError as error:  # a null character
        raise OSError(errno.EINVAL, "not a valid file name", str(path)) from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "it is a socket, or a device that is not there", str(path)) from None
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"it is {_kind(mode)}, not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return the content of the regular file ``path``.

    Raises:
        OSError: as ``open_regular`` does, and if the file has more than ``max_bytes`` bytes.
    """
    with open_regular(path) as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it has more than {_size(max_bytes)}", str(path))
    return data


def open_output(path: str | os.PathLike[str], flags: int = os.O_WRONLY | os.O_CREAT | os.O_TRUNC) -> int:
    """Open ``path`` for writing and return its descriptor; also an ``opener`` for ``open``.

    A FIFO needs a reader within ``_FIFO_GRACE_S`` seconds. Writing blocks as usual.

    Raises:
        OSError: if it cannot be opened, is a socket or a disk device, or is a FIFO that no program reads.
    """
    until = time.monotonic() + _FIFO_GRACE_S
    while True:
        try:
            descriptor = os.open(path, flags | _NONBLOCK | _CLOEXEC | _BINARY, _DEFAULT_MODE)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if not stat.S_ISFIFO(Path(path).stat().st_mode):
                raise OSError(errno.ENXIO, "it is a socket, or a device that is not there", os.fspath(path)) from None
            if time.monotonic() >= until:
                reason = "it is a FIFO that no program reads; start its reader first"
                raise OSError(errno.ENXIO, reason, os.fspath(path)) from None
            time.sleep(_FIFO_POLL_S)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISBLK(mode):  # lines written over a disk would destroy its file system
            raise OSError(errno.EINVAL, f"it is {_kind(mode)}; choose a file name", os.fspath(path))
        if _NONBLOCK:
            os.set_blocking(descriptor, True)
        return descriptor
    except BaseException:
        os.close(descriptor)
        raise


def _kind(mode: int) -> str:
    return next((name for matches, name in _KINDS if matches(mode)), "a special file")


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"


@contextmanager
def atomic_path(path: Path, *, private: bool = False, seekable: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` that replaces ``path`` if the block succeeds, and is deleted if it fails.

    A symbolic link stays, and its target is replaced. A replaced file keeps its permissions. Devices and pipes are
    written directly; a FIFO stays open during the block, so that opening it again does not block.

    Args:
        path: The final path.
        private: Give only the owner access, from the first byte on; refuse devices and pipes.
        seekable: Refuse devices and pipes, because the format needs a file.

    Raises:
        OutputError: if the folder is missing or not writable, the disk is full, or no program reads a FIFO.
    """
    held: int | None = None
    try:
        final, mode = _resolve(path)
        if (private or seekable) and final is None:
            raise OutputError(f"{path}: not a regular file; choose another file name")
        mode = _PRIVATE_MODE if private else mode
        temporary = path if final is None else _create_next_to(final, _PRIVATE_MODE if private else _DEFAULT_MODE)
        if final is None:
            held = open_output(path, os.O_WRONLY)
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
        if held is not None:
            os.close(held)
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
        name = f".{path.name[:40]}.{os.urandom(4).hex()}.tmp{path.suffix[:8]}"
        with suppress(FileExistsError):
            os.close(os.open(path.with_name(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            return path.with_name(name)


def remove_temporary_files(folder: Path, names: Iterable[str]) -> None:
    """Delete what killed writers of the files ``names`` in ``folder`` left. The caller must be their only writer.

    Files that cannot be deleted stay.
    """
    for path in temporary_files(folder, names):
        with suppress(OSError):
            path.unlink()


def temporary_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the temporary files that ``atomic_path`` has made for the files ``names`` in ``folder``."""
    patterns = [
        rf"\.{re.escape(Path(name).name[:40])}\.[0-9a-f]{{8}}\.tmp{re.escape(Path(name).suffix[:8])}" for name in names
    ]
    ours = re.compile("|".join(patterns))
    try:
        return [path for path in folder.iterdir() if ours.fullmatch(path.name)]
    except OSError:
        return []


class PendingFile:
    """A file that is written next to its final path; ``commit`` moves it there, ``discard`` deletes it."""

    def __init__(self, path: Path, *, seekable: bool = False) -> None:
        self.path = path
        self._stack = ExitStack()
        self.temporary = self._stack.enter_context(atomic_path(path, seekable=seekable))

    def commit(self) -> None:
        """Move the file to its final path. Idempotent. Raises OutputError."""
        self._stack.close()

    def discard(self) -> None:
        """Delete what was written; an older file at the final path stays."""
        self._stack.__exit__(OutputError, OutputError("discarded"), None)


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` and flush it to the disk. If this fails, the old content stays. Raises OutputError."""
    with atomic_path(path) as temporary, open(temporary, "wb", opener=open_output) as stream:
        stream.write(data)
        stream.flush()
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):  # pipes and devices cannot be synced
            os.fsync(stream.fileno())


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, like ``write_bytes_atomically``."""
    write_bytes_atomically(path, text.encode("utf-8"))


def sync(path: Path) -> None:
    """Flush a file, or a folder with the names of its files, to the disk. Raises OSError."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
