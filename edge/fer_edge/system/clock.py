"""Whether the wall clock is synchronized."""

from __future__ import annotations

import ctypes

_TIME_ERROR = 5
"""Returned by adjtimex(2) while the clock is not synchronized (TIME_ERROR)."""


def clock_synced() -> bool | None:
    """Return whether the kernel considers the wall clock synchronized (by NTP or PTP); None if this is unknown.

    Reads adjtimex(2): systemd-timesyncd, chrony and ntpd set the state there, and the kernel resets it when they stop
    updating it.
    """
    try:
        # Zeroed, and larger than any struct timex (208 bytes): modes 0 means read only.
        code = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
    except (OSError, AttributeError, TypeError):  # not Linux, or another libc
        return None
    return None if code < 0 else code != _TIME_ERROR
