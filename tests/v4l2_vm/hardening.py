"""Print as JSON what a program may do under the unit's hardening; it runs there instead of fer-edge.

The arguments are devices to open.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
import time

_ADJ_STATUS = 0x0010


def attempt(code: int) -> str:
    """Return "done" or the name of the error, for the return value of a C function."""
    return "done" if code >= 0 else errno.errorcode[ctypes.get_errno()]


def may_open(path: str) -> str:
    """Return "done" or the name of the error."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    timex = ctypes.create_string_buffer(512)
    read = attempt(libc.adjtimex(timex))
    ctypes.c_uint.from_buffer(timex).value = _ADJ_STATUS
    now = time.clock_gettime_ns(time.CLOCK_REALTIME)
    timespec = (ctypes.c_long * 2)(now // 10**9, now % 10**9)
    timeval = (ctypes.c_long * 2)(now // 10**9, now % 10**9 // 1000)
    may = {
        "read the clock's state": read,
        "adjtimex sets": attempt(libc.adjtimex(timex)),
        "clock_adjtime sets": attempt(libc.clock_adjtime(0, timex)),
        "clock_settime": attempt(libc.clock_settime(0, timespec)),
        "settimeofday": attempt(libc.settimeofday(timeval, None)),
        **{path: may_open(path) for path in sys.argv[1:]},
    }
    sys.stdout.write(json.dumps(may) + "\n")


if __name__ == "__main__":
    main()
