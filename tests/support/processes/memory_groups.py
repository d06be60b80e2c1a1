"""Control groups with a memory limit, as a service's MemoryMax= makes them; cgroup v1 or v2."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 1 << 20
_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")
_CLEANUP_S = 30.0


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A control group whose processes together may use ``limit`` bytes."""

    folder: Path
    limit: int

    def command(self, *words: str) -> list[str]:
        """Return the command line that enters the group and then becomes ``words``."""
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.folder), *words]

    def kills(self) -> int:
        """Return how many processes of the group the kernel has killed for lack of memory."""
        name = "memory.oom_control" if self.folder.is_relative_to(_V1) else "memory.events"
        counts = dict(line.split() for line in (self.folder / name).read_text().splitlines())
        return int(counts["oom_kill"])


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """Make a control group for the block; skip the test, with the reason, where that is not possible."""
    v1 = _V1.is_dir()
    if not v1 and "memory" not in _words(_V2 / "cgroup.subtree_control"):
        pytest.skip("the kernel's memory controller (cgroup v1 or v2) is not available here")
    folder = (_V1 if v1 else _V2) / f"fer-edge-test-{uuid.uuid4().hex}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a control group, which takes root: {error}")
    try:
        (folder / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit))
        # As the unit's MemorySwapMax=0: with swap, a test would only become slow.
        with contextlib.suppress(OSError):  # a kernel without swap accounting
            (folder / ("memory.memsw.limit_in_bytes" if v1 else "memory.swap.max")).write_text(str(limit if v1 else 0))
        yield MemoryGroup(folder, limit)
    finally:
        _remove(folder)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _remove(folder: Path) -> None:
    """Remove the group; a killed process leaves it a moment after its parent sees its end."""
    until = time.monotonic() + _CLEANUP_S
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return
