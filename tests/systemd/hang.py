"""Program that runs inside the container: stop every thread of a process except the first, permanently."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

_PTRACE_ATTACH = 16
"""Stops one thread and not the others, which no signal can do; see ptrace(2)."""

pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
for thread in sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()):
    if thread != pid and libc.ptrace(_PTRACE_ATTACH, thread, None, None):
        sys.exit(f"thread {thread}: {os.strerror(ctypes.get_errno())}")
print("held", flush=True)
# Stopped threads cannot end: release them as soon as the first thread has ended.
while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
    time.sleep(0.1)
