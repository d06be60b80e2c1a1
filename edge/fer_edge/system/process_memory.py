"""How much memory this process holds; imports next to nothing, since the bench weighs a process by it."""

from __future__ import annotations

import math
import os
from pathlib import Path


def resident_mib() -> float:
    """Resident memory of this process in MiB; NaN where there is no /proc."""
    try:
        # Exact, about 1 ms; statm is quicker, but lags behind by some pages per core (of 16 KiB on a Pi 5).
        for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass  # not every kernel has it
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return math.nan
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
