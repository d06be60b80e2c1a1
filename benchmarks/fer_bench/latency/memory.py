"""Resident memory of this process; imports next to nothing, since the latency's workers weigh themselves by it."""

from __future__ import annotations

import math

from fer_edge.system.process_memory import resident_mib


def rss_mib() -> float:
    """Resident memory of this process in MiB (2**20 bytes), on a system without /proc too."""
    resident = resident_mib()
    if not math.isnan(resident):
        return resident
    from fer_bench.extras import require

    return float(require("psutil").Process().memory_info().rss / 2**20)
