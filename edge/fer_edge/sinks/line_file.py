"""Append whole lines to a file, which is rotated when it is large enough."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fer_edge.errors import OutputError
from fer_edge.system.closing import Closing

STANDARD_OUTPUT = "-"


class LineFile(Closing):
    """Appends to ``target``: a file, or ``-``, standard output. Raises OutputError where it cannot be opened.

    What is written at a time goes into one write, so that a reader never sees half a line; when the disk is full, the
    part that was written is taken back. A line that an earlier process left unfinished is ended first. After a failure,
    and when another program has rotated or removed it, the file is opened again by the next ``write``.

    A file that would grow beyond ``max_bytes`` is renamed to ``<name>.1``, which was renamed to ``<name>.2`` before,
    and so on; ``keep`` of these are kept. Only a line longer than ``max_bytes`` makes a larger one.

    ``synced``: the caller calls ``sync`` now and then, and a file that is rotated before is synced first.
    """

    def __init__(self, target: str, *, max_bytes: int | None = None, keep: int = 1, synced: bool = False) -> None:
        self._standard = target == STANDARD_OUTPUT
        self._where = "standard output" if self._standard else target
        self._path = Path(os.path.realpath(target))  # a link stays, and its target is rotated
        self._max_bytes, self._keep, self._synced = max_bytes, keep, synced
        self._lines_to_sync = self._name_to_sync = False
        self._descriptor: int | None = None
        self._regular = False
        self._open()

    def write(self, lines: Sequence[bytes]) -> int:
        """Append the first of ``lines``, each with its end, as many as the file takes; returns how many.

        Raises OutputError, and then nothing was written; BrokenPipeError when the reader has gone.
        """
        try:
            if self._descriptor is None or self._put_aside_by_another():
                self._sync_lines()
                self._open()
            count = self._how_many(lines)
            self._append(b"".join(lines[:count]))
        except (BrokenPipeError, OutputError):
            raise
        except OSError as error:
            if self._regular:
                self.close()
            raise OutputError(f"{self._where}: cannot write the event: {error.strerror}") from error
        return count

    def sync(self) -> None:
        """Return once the written lines and the file's name are on the disk; a pipe or a terminal is left alone.

        Raises:
            OutputError: if the disk refuses. What it had not written by then may be lost, and no later sync reports it.
        """
        try:
            self._sync_lines()
            if self._name_to_sync:
                _sync_folder(self._path.parent)
                self._name_to_sync = False
        except OSError as error:
            self.close()
            raise OutputError(
                f"{self._where}: cannot sync it to the disk: {error.strerror}; its last lines may be lost"
            ) from error

    def close(self) -> None:
        """Close the file; standard output stays open."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            # A network's file system may report only now that there was no room: what it took is gone already.
            with suppress(OSError):
                os.close(descriptor)

    def _open(self) -> None:
        self.close()
        try:
            if self._standard:
                sys.stdout.flush()
                self._descriptor = os.dup(sys.stdout.fileno())
            else:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o666)
        except OSError as error:
            raise OutputError(f"{self._where}: cannot open it for writing: {error.strerror}") from error
        self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._lines_to_sync = False
        self._name_to_sync = self._regular and not self._standard
        try:
            self._close_last_line()
        except OSError as error:
            self.close()
            raise OutputError(f"{self._where}: cannot end its last line: {error.strerror}") from error

    def _how_many(self, lines: Sequence[bytes]) -> int:
        """How many of ``lines`` go into this file, or, where not even one does, into the new one that this begins."""
        if self._max_bytes is None or not self._regular or self._standard:
            return len(lines)
        size = self._size()
        if size and size + len(lines[0]) > self._max_bytes:
            self._put_aside()
            size = 0
        count, size = 1, size + len(lines[0])
        for line in lines[1:]:
            size += len(line)
            if size > self._max_bytes:
                break
            count += 1
        return count

    def _put_aside(self) -> None:
        """Each step is one rename, and a step that was done before an interruption is not missed by the next time."""
        self._sync_lines()
        names = [self._path.with_name(f"{self._path.name}.{number}") for number in range(self._keep, 0, -1)]
        for older, newer in zip(names, [*names[1:], self._path], strict=True):
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._open()

    def _append(self, data: bytes) -> None:
        assert self._descriptor is not None, "the file is closed"
        size = self._size() if self._regular else 0
        self._lines_to_sync = self._regular
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            if self._regular:
                # Where not even that can be done, the half line is ended when the file is opened again.
                with suppress(OSError):
                    os.ftruncate(self._descriptor, size)
            raise

    def _sync_lines(self) -> None:
        if self._synced and self._lines_to_sync and self._descriptor is not None:
            os.fsync(self._descriptor)
            self._lines_to_sync = False

    def _size(self) -> int:
        assert self._descriptor is not None, "the file is closed"
        return os.fstat(self._descriptor).st_size

    def _put_aside_by_another(self) -> bool:
        assert self._descriptor is not None, "the file is closed"
        if not self._regular or self._standard:
            return False
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True

    def _close_last_line(self) -> None:
        """End a line that an earlier process, cut off by a power failure, left without its end."""
        if self._standard or not self._regular or self._size() == 0:
            return
        try:
            with self._path.open("rb") as stream:
                stream.seek(-1, os.SEEK_END)
                unfinished = stream.read(1) != b"\n"
        except PermissionError:  # may be written but not read; then nothing can be known
            return
        if unfinished:
            self._append(b"\n")


def _sync_folder(folder: Path) -> None:
    """Write the names in ``folder`` to the disk: a new file's name is not in the file."""
    if os.name == "nt":  # Windows opens no folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
