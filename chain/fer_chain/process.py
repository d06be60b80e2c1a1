"""Run a step as a process that ends with this one, however this one ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the process gets when its parent ends."""
_INTERRUPTED_S = 5.0
"""Time for a step to end after Ctrl-C, which the terminal has sent to it too."""
_TERMINATED_S = 60.0
"""Time for a step to end after SIGTERM: training ends after a batch, a deployment after a command on the Pi."""


def run(words: Sequence[str]) -> int:
    """Run ``fer-edge`` with ``words`` on this process's standard streams; return its exit code, negative for a signal.

    If this is interrupted, the step is ended first.
    """
    # It is unsafe with other threads; this process has none.
    child = subprocess.Popen(
        [sys.executable, "-m", "fer_edge", *words],
        preexec_fn=_end_with_parent(),  # noqa: PLW1509
    )
    try:
        return child.wait()
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):
            child.terminate()
        for patience_s, end in ((_INTERRUPTED_S, child.terminate), (_TERMINATED_S, child.kill)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience_s)
                break
            end()
        child.wait()
        raise


def _end_with_parent() -> Callable[[], None] | None:
    """Return what the child calls first: without it, a step would outlive a chain that was killed by SIGKILL."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def end_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return end_with_parent
