"""Resident memory of this process. Imports very little, because the workers of ``bench latency`` measure themselves."""

from __future__ import annotations

import importlib
import math

from fer_edge.errors import MissingExtraError
from fer_edge.system.process_memory import resident_mib


def rss_mib() -> float:
    """Return the resident memory of this process in MiB (2**20 bytes), also on a system without /proc."""
    resident = resident_mib()
    if not math.isnan(resident):
        return resident
    try:
        psutil = importlib.import_module("psutil")
    except ModuleNotFoundError:
        raise MissingExtraError("psutil", "bench") from None
    return float(psutil.Process().memory_info().rss / 2**20)
