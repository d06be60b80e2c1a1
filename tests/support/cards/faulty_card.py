"""A card with injected faults: a file in a FUSE file system, also usable as the backing of a loop device.

Run as a program, under the system's own Python, it serves ``card`` in a folder until it is unmounted; imported, it
starts itself and controls the faults. Debian: see ``PACKAGES``; it needs root for loop devices alone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = "python3-fusepy, fuse"
_SYSTEM_PYTHON = "/usr/bin/python3"
_CONTROL = "control"


def why_missing() -> str | None:
    """Return what to install if the card cannot be created; None if it can."""
    try:
        found = subprocess.run([_SYSTEM_PYTHON, "-c", "import fusepy"], capture_output=True, check=False)
    except OSError:
        return f"a faulty card needs {_SYSTEM_PYTHON}"
    if found.returncode != 0:
        return f"a faulty card needs {PACKAGES}"
    return None if os.access("/dev/fuse", os.R_OK | os.W_OK) else "a faulty card needs /dev/fuse"


class FaultyCard:
    """A card of the test; ``path`` is the file that represents it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "card"
        self._control = folder / _CONTROL

    def set(self, **faults: Any) -> None:
        """Restart the count of operations at 0 and inject these faults; operations that are not named succeed.

        ``kill_at``: the operation (write or sync) before which the process that asks is killed by SIGKILL.
        ``fail_from``, ``fail_with``: the offset from which on writes fail, and the errno; ``fail_sync``: all syncs do.
        ``unreadable``: an offset whose reads fail with EIO. ``flip``: an offset whose lowest bit reads inverted.
        ``delay_s``: how long each write takes. ``size``: apparent size of the card in bytes.
        """
        self._control.write_text(json.dumps(faults))

    def operations(self) -> int:
        """How many writes and syncs there were since ``set``."""
        return int(self._control.read_text())


@contextlib.contextmanager
def faulty_card(folder: Path, content: Path) -> Iterator[FaultyCard]:
    """Mount a card with the bytes of the file ``content`` in ``folder`` for the duration of the block."""
    folder.mkdir()
    process = subprocess.Popen([_SYSTEM_PYTHON, __file__, str(folder), str(content)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not (folder / "card").exists():
            assert process.poll() is None and time.monotonic() < until, "the card's file system did not come up"
            time.sleep(0.02)
        yield FaultyCard(folder)
    finally:
        subprocess.run(["fusermount", "-u", "-z", str(folder)], check=False)
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:  # a container started since then keeps a copy of the mount
            process.kill()
            process.wait()


def _serve(folder: str, content: str) -> None:
    import fusepy

    data = bytearray(Path(content).read_bytes())
    faults: dict[str, Any] = {}
    count = 0

    def step() -> None:
        nonlocal count
        if count == faults.get("kill_at"):
            os.kill(fusepy.fuse_get_context()[2], signal.SIGKILL)
            raise fusepy.FuseOSError(errno.EIO)
        count += 1

    class Card(fusepy.Operations):  # type: ignore[misc]
        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            if path == "/":
                return {"st_mode": 0o40755, "st_nlink": 2}
            if path not in ("/card", f"/{_CONTROL}"):
                raise fusepy.FuseOSError(errno.ENOENT)
            size = faults.get("size", len(data)) if path == "/card" else 4096
            return {"st_mode": 0o100600, "st_nlink": 1, "st_size": size}

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            if path != "/card":
                return str(count).encode()[offset : offset + size]
            if offset <= faults.get("unreadable", -1) < offset + size:
                raise fusepy.FuseOSError(errno.EIO)
            found = data[offset : min(offset + size, faults.get("size", len(data)))]
            flip = faults.get("flip", -1)
            if offset <= flip < offset + len(found):
                found[flip - offset] ^= 1
            return bytes(found)

        def write(self, path: str, new: bytes, offset: int, fh: int) -> int:
            nonlocal count
            if path != "/card":
                faults.clear()
                faults.update(json.loads(new))
                count = 0
                return len(new)
            step()
            time.sleep(faults.get("delay_s", 0))
            if offset + len(new) > faults.get("fail_from", sys.maxsize):
                raise fusepy.FuseOSError(faults["fail_with"])
            data[offset : offset + len(new)] = new
            return len(new)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            return 0

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            step()
            if faults.get("fail_sync"):
                raise fusepy.FuseOSError(errno.EIO)
            return 0

    # No threads, so that operations have an order; no kernel cache, so that each of them is handled here.
    fusepy.FUSE(Card(), folder, foreground=True, nothreads=True, direct_io=True, big_writes=True, attr_timeout=0)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
