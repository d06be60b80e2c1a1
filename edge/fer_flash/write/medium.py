"""The card as a block device that is open exclusively, or as a regular file.

The ioctl requests are named and numbered in include/uapi/linux/fs.h of Linux.
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

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_edge.system.closing import Closing

BUFFER_BYTES = 1 << 21
"""Maximum bytes per read or write, and size of ``aligned_buffer``.

On a loop device, 2 MiB were faster than 4 MiB, since two larger buffers do not fit into the processor's cache. The
kernel splits either into what the reader accepts.
"""
_BLKRRPART = 0x125F
_BLKSSZGET = 0x1268
_BLKZEROOUT = 0x127F
_BLKGETSIZE64 = 0x80081272
_SYNC_EVERY_BYTES = 1 << 24
"""Writes through the page cache are flushed this often, so that progress reflects the medium."""
_NOT_OFFERED = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL}
_GONE = {errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ESHUTDOWN}
_PROTECTED = {errno.EROFS, errno.EPERM, errno.EACCES}


def aligned_buffer() -> memoryview:
    """Return a buffer of BUFFER_BYTES that starts at a page boundary, as O_DIRECT requires."""
    return memoryview(mmap.mmap(-1, BUFFER_BYTES))


class Medium(Closing):
    """A card that is open for writing; a context manager.

    Offsets, lengths and the addresses of data must be multiples of ``block`` bytes. Errors are OutputError, or
    CheckFailedError if the medium cannot be read back.

    Attributes:
        path: the device or file.
        size: in bytes.
        block: logical block size in bytes; 1 for a file.
        direct: whether the page cache is bypassed.
        is_device: whether this is a block device and not a file.
        number: device number, or the inode of a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unsynced = 0
        self._zeros: memoryview | None = None
        self._fd, self.direct = _open(path)
        try:
            status = os.fstat(self._fd)
            self.is_device = stat.S_ISBLK(status.st_mode)
            self.number = status.st_rdev if self.is_device else status.st_ino
            self.block = 1
            if self.is_device:
                self.block = int.from_bytes(fcntl.ioctl(self._fd, _BLKSSZGET, bytes(4)), "little")
            elif not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: neither a disk nor a file")
            else:
                _lock(self._fd, path)
            self.size = self._size_now()
        except OSError as error:
            self.close()
            raise self._failed(error, "does not answer", 0) from error
        except BaseException:
            self.close()
            raise

    def write(self, offset: int, data: memoryview) -> None:
        """Write ``data`` at ``offset``; it is on the medium only after ``sync``."""
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
        """Set ``length`` bytes at ``offset`` to zero.

        BLKZEROOUT guarantees zeros, in the way that is fastest for the device; a discard (BLKDISCARD) does not.
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
        """Wait until all writes are on the medium."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._failed(error, "cannot be written", None) from error
        self._unsynced = 0

    def forget(self) -> None:
        """Drop the medium's pages from the page cache, so that the next reads come from the medium itself."""
        if not self.direct:
            with suppress(OSError):  # in_memory reports what is still cached
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def in_memory(self, offset: int) -> bool:
        """Return whether a read at ``offset`` would come from the page cache, as far as the kernel reports it."""
        if self.direct:
            return False
        try:
            # Fails with EAGAIN instead of waiting for the medium (preadv2(2), RWF_NOWAIT).
            return os.preadv(self._fd, [bytearray(1)], offset, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False
        except OSError:  # not supported by every file system
            return True

    def read(self, offset: int, into: memoryview) -> None:
        """Fill ``into`` with the bytes at ``offset``."""
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

    def reread_partitions(self) -> None:
        """Let the kernel read the new partition table of a device; if it cannot, it will when the card is replugged."""
        if self.is_device:
            with suppress(OSError):
                fcntl.ioctl(self._fd, _BLKRRPART)

    def close(self) -> None:
        """Close the device. Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with suppress(OSError):  # the data was synced before
                os.close(fd)

    def _size_now(self) -> int:
        if self.is_device:
            return int.from_bytes(fcntl.ioctl(self._fd, _BLKGETSIZE64, bytes(8)), "little")
        return os.fstat(self._fd).st_size

    def _is_gone(self, error: OSError) -> bool:
        """Return whether the device was removed; it then has size 0 and fails writes with ENOSPC."""
        if error.errno in _GONE:
            return True
        try:
            return self.is_device and self._size_now() == 0
        except OSError:
            return True

    def _failed(self, error: OSError, what: str, offset: int | None) -> OutputError:
        where = "" if offset is None else f" at byte {offset}"
        if self._is_gone(error):
            return OutputError(f"{self.path}: the card was removed; insert it again")
        if error.errno in _PROTECTED:
            return OutputError(f"{self.path}: {what}: write-protected; check the lock switch on the side of the card")
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            return OutputError(f"{self.path}: full{where}: {error.strerror}; a larger card is needed")
        return OutputError(f"{self.path}: {what}{where}: {error.strerror}; try another card or another reader")


def _lock(fd: int, path: Path) -> None:
    """Lock a file until it is closed. Raises InputError if another program has locked it.

    Both kinds of lock are taken, which do not see each other: flock(2), as another write and the program flock do, and
    one of the open file (fcntl_locking(2)), as QEMU does with the disk of a virtual machine.
    """
    whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, whole)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):  # a file system without locks
            return
        raise InputError(
            f"{path}: in use: another program has locked it; close it there, or wait until it is written"
        ) from error


def _open(path: Path) -> tuple[int, bool]:
    """Return a descriptor, and whether it bypasses the page cache. Raises InputError if in use, else OutputError."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        if not stat.S_ISBLK(path.lstat().st_mode):
            return os.open(path, flags), False
        # For a block device, O_EXCL fails while the device or a partition of it is mounted or held (open(2)), and
        # prevents that as long as the descriptor is open.
        try:
            return os.open(path, flags | os.O_EXCL | os.O_DIRECT), True
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: the driver does not support O_DIRECT
                raise
        return os.open(path, flags | os.O_EXCL), False
    except PermissionError as error:
        raise OutputError(f"{path}: no permission to write; run the command with sudo") from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise InputError(
                f"{path}: in use: it or a partition of it is mounted, or another program uses it; unmount it first"
            ) from error
        if error.errno == errno.EROFS:
            raise OutputError(f"{path}: write-protected; check the lock switch on the side of the card") from error
        if error.errno in _GONE or error.errno == errno.ENOENT:
            raise OutputError(f"{path}: the card was removed; insert it again") from error
        raise OutputError(f"{path}: cannot be opened: {error.strerror}; try another reader") from error
