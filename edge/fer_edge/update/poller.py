"""Ask for a new version at intervals, each time in a separate process with the lowest priority.

``python -m fer_edge.update.poller`` reads a ``Device`` as JSON from standard input, and runs ``apply`` once.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import suppress

import msgspec

from fer_edge.errors import CheckFailedError, FerEdgeError, ModelError, SourceLostError, reason_of
from fer_edge.system.closing import Closing
from fer_edge.system.messages import print_message
from fer_edge.update.device import Device

_MAX_FIRST_WAIT_S = 300.0
_RETRY_S = 900.0
"""Wait after a server that cannot be reached, or a clock that is not synchronized yet."""
_MAX_RUN_S = 6 * 3600.0
"""More than the limits of a download and of the self-check together."""
_TERMINATE_S = 2.0


class Poller(Closing):
    """Runs a check for ``device`` every ``interval_s`` seconds; ``poll`` is called often and never blocks.

    What a process prints on standard error appears on this one's.
    """

    def __init__(self, device: Device, now: float) -> None:
        self._device = device
        settings = device.update
        # Devices that get their power back at the same moment do not all ask at the same moment.
        self._next_at = now + random.random() * min(settings.jitter * settings.interval_s, _MAX_FIRST_WAIT_S)
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = now

    def poll(self, now: float) -> None:
        """Start a check if it is time, and deal with one that has ended."""
        settings = self._device.update
        if self._child is None:
            if settings.interval_s and now >= self._next_at:
                self._start(now)
            return
        code = self._child.poll()
        if code is None and now - self._started_at > _MAX_RUN_S:
            self._child.kill()
        if code is not None:
            self._child = None
            later = code in (CheckFailedError.exit_code, SourceLostError.exit_code)
            wait_s = min(settings.interval_s, _RETRY_S) if later else settings.interval_s
            self._next_at = now + wait_s * (1 + settings.jitter * random.uniform(-1, 1))

    def close(self) -> None:
        """End a running check; what it did so far is kept. Idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_TERMINATE_S)
            child.kill()
            child.wait()

    def _start(self, now: float) -> None:
        self._next_at, self._started_at = now + self._device.update.interval_s, now
        try:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal ends the daemon, which ends this
            )
        except OSError as error:
            print_message(f"update: cannot start a check: {reason_of(error)}")
            return
        assert child.stdin is not None
        with suppress(BrokenPipeError):
            child.stdin.write(msgspec.json.encode(self._device))  # fits into the pipe
            child.stdin.close()
        self._child = child


def main() -> int:
    """Run one check and return the exit code."""
    from fer_edge.update.apply import apply

    device = msgspec.json.decode(sys.stdin.buffer.read(), type=Device)
    before = device.store.state().problem
    try:
        apply(device, now=False, report=lambda line: print_message(f"update: {line}"))
    except FerEdgeError as error:
        if str(error) != before or isinstance(error, ModelError):  # a server that is away is reported once
            print_message(f"update: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    os.nice(19)
    os._exit(main())
