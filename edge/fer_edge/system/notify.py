"""systemd notifications, sd_notify(3): ready, watchdog, reloading, stopping."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping

from fer_edge.system.messages import printable

UNIT = "fer-edge.service"
"""Name of the systemd unit."""

_MAX_STATUS_CHARS = 400
"""Characters that ``systemctl status`` shows on one line, with a margin."""
_PING_SHARE = 0.1
"""Minimum interval of watchdog messages, as a share of the watchdog time: each one wakes systemd, and frames arrive 30
times a second."""


class Notifier:
    """Sends notifications to systemd. Without NOTIFY_SOCKET in ``environment`` every method does nothing.

    No method raises or blocks: a message that systemd does not accept at once is lost. Each method returns whether its
    message was sent. All are thread-safe. NOTIFY_SOCKET stays in the environment: child processes must not inherit it,
    or the unit must set ``NotifyAccess=main``.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environment) if self._address else None
        """Seconds without ``watchdog`` after which systemd kills this process; None without a watchdog."""
        self._unit_s = self.watchdog_s
        self._pinged_at = -math.inf

    def ready(self) -> bool:
        """Report that startup or reloading is complete."""
        return self._send("READY=1")

    def status(self, text: str) -> bool:
        """Report the state in one line for ``systemctl status``; a longer one is truncated."""
        line = printable(" ".join(text.split()))
        return self._send(f"STATUS={line if len(line) <= _MAX_STATUS_CHARS else line[: _MAX_STATUS_CHARS - 1] + '…'}")

    def watchdog(self) -> bool:
        """Report progress; can be called for every frame, since messages are rate-limited."""
        now = time.monotonic()
        if self.watchdog_s is None or now - self._pinged_at < _PING_SHARE * self.watchdog_s:
            return False
        sent = self._send("WATCHDOG=1")
        if sent:
            self._pinged_at = now
        return sent

    def extend_watchdog(self, min_s: float) -> bool:
        """Raise the watchdog time to ``min_s`` if the unit's is shorter. Does nothing without a watchdog."""
        if self._unit_s is None or self.watchdog_s == max(self._unit_s, min_s):
            return False
        self.watchdog_s = max(self._unit_s, min_s)
        return self._send(f"WATCHDOG_USEC={round(self.watchdog_s * 1e6)}")

    def reloading(self) -> bool:
        """Report that the settings are being reloaded; call ``ready`` when that is complete."""
        # The time lets systemd ignore a message that was sent before it requested the reload.
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> bool:
        """Report that the process is about to exit."""
        return self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                # A source name may contain bytes that are not valid text; systemd rejects messages that are not UTF-8.
                sender.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError:  # the socket is closed, or its queue is full
            return False
        return True


def _address(name: str) -> bytes | None:
    """Return the socket's address, or None for an unsupported kind."""
    address = os.fsencode(name)
    if address.startswith(b"@") and len(address) > 1:  # Linux's abstract namespace, not a file
        return b"\0" + address[1:]
    return address if address.startswith(b"/") else None


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    try:
        pid = int(environment.get("WATCHDOG_PID", os.getpid()))
        time_us = int(environment.get("WATCHDOG_USEC", 0))
    except ValueError:
        return None
    return time_us / 1e6 if time_us > 0 and pid == os.getpid() else None
