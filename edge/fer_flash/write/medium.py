"""The card as something to write to and read from: a block device, held for ourselves alone, or a regular file.

Requests to the kernel are named and numbered in include/uapi/linux/fs.h of Linux.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import Self

from fer_edge.errors import CheckFailedError, InputError, OutputError

BUFFER_BYTES = 1 << 21
"""The most that is written or read at once, and the size of ``aligned_buffer``.

On a loop device 2 MiB were quicker than 4, of which two buffers leave the processor's cache; the kernel cuts either
into what the reader takes.
"""
_BLKRRPART = 0x125F
_BLKSSZGET = 0x1268
_BLKZEROOUT = 0x127F
_BLKGETSIZE64 = 0x80081272
_SYNC_EVERY_BYTES = 1 << 24
"""Where writes go through the page cache, they are pressed out this often, so that progress tells of the medium."""
_NOT_OFFERED = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL}
_GONE = {errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ESHUTDOWN}
_PROTECTED = {errno.EROFS, errno.EPERM, errno.EACCES}


def aligned_buffer() -> memoryview:
    """A buffer of BUFFER_BYTES that begins at a page, as O_DIRECT demands."""
    return memoryview(mmap.mmap(-1, BUFFER_BYTES))


class Medium:
    """A card that is open for writing; a context manager, and ``close`` may be called twice.

    ``size`` is in bytes. Offsets, lengths and the addresses of data must be multiples of ``block`` bytes. With
    ``direct``, nothing passes through the page cache. Errors are OutputError, or CheckFailedError where the medium
    does not give back what it took.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.direct = False
        self._unsynced = 0
        self._zeros: memoryview | None = None
        self._fd, self.direct = _open(path)
        try:
            status = os.fstat(self._fd)
            self.device_number: int | None = None
            self.block = 1
            if stat.S_ISBLK(status.st_mode):
                self.device_number = status.st_rdev
                self.block = int.from_bytes(fcntl.ioctl(self._fd, _BLKSSZGET, bytes(4)), "little")
            elif not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: neither a disk nor a file")
            self.size = self._size_now()
        except OSError as error:
            self.close()
            raise self._failed(error, "does not answer", 0) from error
        except BaseException:
            self.close()
            raise

    @property
    def is_device(self) -> bool:
        """Whether this is a block device, and not a file."""
        return self.device_number is not None

    def write(self, offset: int, data: memoryview) -> None:
        """Put ``data`` at ``offset``; it is on the medium only after ``sync``."""
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], offset + done)
            self._unsynced += len(data)
            if not self.direct and self._unsynced >= _SYNC_EVERY_BYTES:
                os.fdatasync(self._fd)
                self._unsynced = 0
        except OSError as error:
            raise self._failed(error, "cannot be written", offset + done) from error

    def zero(self, offset: int, length: int) -> None:
        """Make ``length`` bytes at ``offset`` zero.

        BLKZEROOUT guarantees zeros, by whatever way is the device's quickest; a discard (BLKDISCARD) guarantees none.
        """
        if self.is_device:
            try:
                fcntl.ioctl(self._fd, _BLKZEROOUT, struct.pack("QQ", offset, length))
                return
            except OSError as error:
                if error.errno not in _NOT_OFFERED:
                    raise self._failed(error, "cannot be written", offset) from error
        if self._zeros is None:
            self._zeros = aligned_buffer()
        for start in range(0, length, BUFFER_BYTES):
            self.write(offset + start, self._zeros[: min(BUFFER_BYTES, length - start)])

    def sync(self) -> None:
        """Return when all that was written is on the medium."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._failed(error, "cannot be written", None) from error
        self._unsynced = 0

    def forget(self) -> None:
        """Drop what the page cache holds of the medium, so that what is read next comes from the medium itself."""
        if not self.direct:
            with suppress(OSError):  # it is asked afterwards how much is left: in_memory
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def in_memory(self, offset: int) -> bool:
        """Whether a read at ``offset`` would be answered by the page cache, as far as the kernel tells."""
        if self.direct:
            return False
        try:
            # Instead of waiting for the medium, this fails with EAGAIN (preadv2(2), RWF_NOWAIT).
            return os.preadv(self._fd, [bytearray(1)], offset, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False
        except OSError:  # not every file system can tell
            return True

    def read(self, offset: int, into: memoryview) -> None:
        """Fill ``into`` from ``offset`` on."""
        done = 0
        try:
            while done < len(into):
                count = os.preadv(self._fd, [into[done:]], offset + done)
                if count == 0:
                    raise OSError(errno.EIO, "the medium ends early")
                done += count
        except OSError as error:
            failure = self._failed(error, "cannot be read back", offset + done)
            if self._is_gone(error):
                raise failure from error
            raise CheckFailedError(str(failure)) from error

    def reread_partitions(self) -> bool:
        """Ask the kernel to look at the new partition table; false where it cannot, and a replug will do."""
        if not self.is_device:
            return True
        try:
            fcntl.ioctl(self._fd, _BLKRRPART)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give the device back."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with suppress(OSError):  # what counts was synced before
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _size_now(self) -> int:
        if self.is_device:
            return int.from_bytes(fcntl.ioctl(self._fd, _BLKGETSIZE64, bytes(8)), "little")
        return os.fstat(self._fd).st_size

    def _is_gone(self, error: OSError) -> bool:
        """A device that was pulled out has no size any more, and says ENOSPC to a write."""
        if error.errno in _GONE:
            return True
        try:
            return self.is_device and self._size_now() == 0
        except OSError:
            return True

    def _failed(self, error: OSError, what: str, offset: int | None) -> OutputError:
        where = "" if offset is None else f" at byte {offset}"
        if self._is_gone(error):
            return OutputError(f"{self.path}: the card is gone; put it in again")
        if error.errno in _PROTECTED:
            return OutputError(f"{self.path}: {what}: write-protected; look at the lock switch on the card's side")
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            return OutputError(f"{self.path}: full{where}: {error.strerror}; a larger card is needed")
        return OutputError(f"{self.path}: {what}{where}: {error.strerror}; try another card or another reader")


def _open(path: Path) -> tuple[int, bool]:
    """A descriptor, and whether it goes past the page cache. Raises InputError where it is in use, else OutputError."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        if not stat.S_ISBLK(path.lstat().st_mode):
            return os.open(path, flags), False
        # With a block device, O_EXCL fails while it, or a partition of it, is mounted or held (open(2)); as long as it
        # is open here, neither can be.
        try:
            return os.open(path, flags | os.O_EXCL | os.O_DIRECT), True
        except OSError as error:
            if error.errno != errno.EINVAL:  # which is how a driver says that it has no O_DIRECT
                raise
        return os.open(path, flags | os.O_EXCL), False
    except PermissionError as error:
        raise OutputError(f"{path}: may not be written by this user; run the command with sudo") from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise InputError(
                f"{path}: in use: it or a partition of it is mounted, or another program holds it; unmount it first"
            ) from error
        if error.errno == errno.EROFS:
            raise OutputError(f"{path}: write-protected; look at the lock switch on the card's side") from error
        if error.errno in _GONE or error.errno == errno.ENOENT:
            raise OutputError(f"{path}: no card there any more; put it in again") from error
        raise OutputError(f"{path}: cannot be opened: {error.strerror}; try another reader") from error
