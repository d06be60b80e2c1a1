"""Resident memory of this process. Imports very little, because the workers of ``bench latency`` measure themselves."""

from __future__ import annotations

import math

from fer_edge.system.process_memory import resident_mib


def rss_mib() -> float:
    """Return the resident memory of this process in MiB (2**20 bytes), also on a system without /proc."""
    resident = resident_mib()
    if not math.isnan(resident):
        return resident
    from fer_bench.extras import require

    return float(require("psutil").Process().memory_info().rss / 2**20)
