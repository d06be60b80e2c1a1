"""The files that `fer-edge bench --on` has sent: model bundles and images, in a folder of the user's cache.

Each file is in a folder that is named by a SHA-256, so a file that is there is never sent again, and never changes.
Only one process at a time uses the cache: another one would also disturb its measurement.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from fer_edge.errors import InputError, OutputError, reason_of
from fer_edge.model.bundle import file_sha256
from fer_edge.system.closing import Closing
from fer_edge.system.files import atomic_path, create_folder, open_output
from fer_edge.system.user_folders import cache_folder

_NAME = re.compile(r"[0-9a-f]{64}/[^/\0.][^/\0]{0,199}")
_LOCK_S, _POLL_S = 5.0, 0.1
"""The process of a connection that was cut needs a moment to end."""


class MeasureCache(Closing):
    """The locked cache. Files have names of two parts: a SHA-256, and a file name."""

    def __init__(self) -> None:
        """Lock the cache. Raises InputError if another process has it, OutputError if it cannot be written."""
        self.folder = cache_folder() / "measure"
        create_folder(self.folder)
        try:
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {reason_of(error)}") from None
        try:
            self._wait_for_lock()
        except BaseException:
            os.close(self._lock)
            raise
        # Temporary files of a process that was killed.
        for path in self.folder.glob("*/.*.tmp*"):
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()

    def missing(self, wanted: Mapping[str, tuple[str, int]]) -> list[str]:
        """Return the names in ``wanted`` whose file is not here, or not that with the given SHA-256 and size in bytes.

        Raises OutputError if the disk has not enough space for them.
        """
        found = [name for name, (sha256, size) in wanted.items() if not _is(self.path(name), sha256, size)]
        needed, free = sum(wanted[name][1] for name in found), shutil.disk_usage(self.folder).free
        if needed > free:
            raise OutputError(
                f"{self.folder}: {needed / 2**20:.1f} MiB needed, {free / 2**20:.1f} MiB free: free some space"
            )
        return found

    def write(self, name: str, sha256: str, chunks: Iterable[bytes]) -> None:
        """Write a file from ``chunks``. If this fails, nothing of it stays. Raises OutputError."""
        path = self.path(name)
        create_folder(path.parent)
        try:
            with atomic_path(path, private=True) as temporary:
                with open(temporary, "wb", opener=open_output) as stream:
                    stream.writelines(chunks)
                if file_sha256(temporary) != sha256:
                    raise OutputError(f"{path}: damaged on its way here; run this again")
        finally:
            with contextlib.suppress(OSError):  # it has files
                path.parent.rmdir()

    def path(self, name: str) -> Path:
        """Return the path of a file. Raises InputError for a name that is not one of this cache."""
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r}: not a name of a file in the cache")
        return self.folder / name

    def close(self) -> None:
        """Unlock the cache. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _wait_for_lock(self) -> None:
        until = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise InputError(
                        "another measurement is running there; one whose connection was lost ends within minutes"
                    ) from None
                time.sleep(_POLL_S)


def _is(path: Path, sha256: str, size: int) -> bool:
    try:
        return path.stat().st_size == size and file_sha256(path) == sha256
    except OSError:
        return False
