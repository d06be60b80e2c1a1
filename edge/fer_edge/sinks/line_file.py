"""Append whole lines to a file and rotate it by size."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from fer_edge.errors import OutputError
from fer_edge.system.closing import Closing
from fer_edge.system.files import open_output, sync
from fer_edge.system.progress import hidden_progress

STANDARD_OUTPUT = "-"


class LineFile(Closing):
    """Append whole lines to a file or to standard output.

    Lines are written with one write(2), so that a reader never sees part of a line. If the disk is full, the part that
    was written is truncated. A line that an earlier process left incomplete is ended first. After a failure, or if
    another program has rotated or removed the file, the next ``send`` opens it again.

    Args:
        target: The file, or ``-`` for standard output.
        max_bytes: Size at which the file is rotated: ``<name>`` is renamed to ``<name>.1``, ``<name>.1`` to
            ``<name>.2``, and so on. Only a single line longer than this makes a larger file.
        keep: Number of rotated files to keep.
        synced: Whether the caller calls ``sync``; then a file is also synced before it is rotated.

    Raises:
        OutputError: if the file cannot be opened.
    """

    def __init__(self, target: str, *, max_bytes: int | None = None, keep: int = 1, synced: bool = False) -> None:
        self._standard = target == STANDARD_OUTPUT
        self._where = "standard output" if self._standard else target
        self._path = Path(os.path.realpath(target))  # rotate the target of a link, not the link
        self._max_bytes, self._keep, self._synced = max_bytes, keep, synced
        self._lines_to_sync = self._name_to_sync = False
        self._descriptor: int | None = None
        self._regular = False  # can be truncated and synced
        self._renamable = False  # regular, and not standard output
        self._terminal = False
        self._open()

    def send(self, lines: Sequence[bytes]) -> int:
        """Append the first of ``lines``, as many as fit into the file.

        Args:
            lines: One or more lines, each with its newline.

        Returns:
            The number of lines written (1 or more).

        Raises:
            OutputError: if nothing was written.
            BrokenPipeError: if the reader has closed the pipe.
        """
        try:
            if self._descriptor is None or self._rotated_by_another():
                self._sync_lines()
                self._open()
            count = self._count_fitting(lines)
            self._append(b"".join(lines[:count]))
        except (BrokenPipeError, OutputError):
            raise
        except OSError as error:
            if self._regular:
                self.close()
            raise OutputError(f"{self._where}: cannot write the event: {error.strerror}") from error
        return count

    def sync(self) -> None:
        """Wait until the written lines and the file's name are on the disk. Does nothing for a pipe or terminal.

        Raises:
            OutputError: if the disk fails. Lines not yet on the disk may be lost; a later sync does not report them.
        """
        try:
            self._sync_lines()
            if self._name_to_sync:
                sync(self._path.parent)
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
            # A network file system may report only here that it was full. The lines are lost then.
            with suppress(OSError):
                os.close(descriptor)

    def _open(self) -> None:
        self.close()
        try:
            if self._standard:
                sys.stdout.flush()
                self._descriptor = os.dup(sys.stdout.fileno())
            else:
                self._descriptor = open_output(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        except OSError as error:
            raise OutputError(f"{self._where}: cannot open it for writing: {error.strerror}") from error
        self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._terminal = os.isatty(self._descriptor)
        self._lines_to_sync = False
        self._renamable = self._name_to_sync = self._regular and not self._standard
        try:
            self._close_last_line()
        except OSError as error:
            self.close()
            raise OutputError(f"{self._where}: cannot end its incomplete last line: {error.strerror}") from error

    def _count_fitting(self, lines: Sequence[bytes]) -> int:
        """Return how many of ``lines`` fit into the file, after rotating it if not even the first does."""
        if self._max_bytes is None or not self._renamable:
            return len(lines)
        size = self._size()
        if size and size + len(lines[0]) > self._max_bytes:
            self._rotate()
            size = 0
        count, size = 1, size + len(lines[0])
        for line in lines[1:]:
            size += len(line)
            if size > self._max_bytes:
                break
            count += 1
        return count

    def _rotate(self) -> None:
        """Rename the files, oldest first, so that an interruption loses none of them."""
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
            with hidden_progress() if self._terminal else nullcontext():
                while data:
                    data = data[os.write(self._descriptor, data) :]
        except OSError:
            if self._regular:
                # If this fails too, the incomplete line is ended when the file is opened again.
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

    def _rotated_by_another(self) -> bool:
        assert self._descriptor is not None, "the file is closed"
        if not self._renamable:
            return False
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True

    def _close_last_line(self) -> None:
        """End a line that an earlier process left incomplete, for example because of a power failure."""
        if not self._renamable or self._size() == 0:
            return
        try:
            with self._path.open("rb") as stream:
                stream.seek(-1, os.SEEK_END)
                unfinished = stream.read(1) != b"\n"
        except PermissionError:  # the file is write-only, so its last line is unknown
            return
        if unfinished:
            self._append(b"\n")
