"""What the program tells systemd about itself: ready, alive, reloading, stopping; see sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from fer_edge.system.messages import printable

UNIT = "fer-edge.service"
"""What the service is called."""

_LONGEST_STATUS = 400
"""Characters: what ``systemctl status`` shows on one line, with room to spare."""
_PING_SHARE = 0.1
"""Of the watchdog's time, between two messages to it: each one wakes systemd, and frames come 30 times a second."""


class Notifier:
    """Sends messages to systemd; without a NOTIFY_SOCKET in ``environment`` every method does nothing.

    No method raises, and none blocks: a message that systemd does not take at once is lost. Each returns whether its
    message was sent. They may be called from any thread. The environment is left as it is, so a program that is started
    by this one has to be kept from it by its caller, or by the unit's ``NotifyAccess=main``.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environment) if self._address else None
        """Seconds without a ``watchdog`` message after which systemd ends this process; None where it does not."""
        self._unit_s = self.watchdog_s
        self._pinged_at: float | None = None

    def ready(self) -> bool:
        """All that was wanted at the start is done; also ends ``reloading``."""
        return self._send("READY=1")

    def status(self, text: str) -> bool:
        """How it is, in one line for ``systemctl status``; a longer one is cut."""
        line = printable(" ".join(text.split()))
        return self._send(f"STATUS={line if len(line) <= _LONGEST_STATUS else line[: _LONGEST_STATUS - 1] + '…'}")

    def watchdog(self) -> bool:
        """There was progress. May be called for every frame: a message is sent for the first in a tenth of the time."""
        if self.watchdog_s is None:
            return False
        now = time.monotonic()
        if self._pinged_at is not None and now - self._pinged_at < _PING_SHARE * self.watchdog_s:
            return False
        sent = self._send("WATCHDOG=1")
        if sent:
            self._pinged_at = now
        return sent

    def extend_watchdog(self, least_s: float) -> bool:
        """Give what may take ``least_s`` that time, where the unit gives less; where it has no watchdog, nothing."""
        if self._unit_s is None or self.watchdog_s == max(self._unit_s, least_s):
            return False
        self.watchdog_s = max(self._unit_s, least_s)
        return self._send(f"WATCHDOG_USEC={round(self.watchdog_s * 1e6)}")

    def reloading(self) -> bool:
        """The settings are being read again; ``ready`` tells the end of it."""
        # The time lets systemd tell this message from one that was under way before it asked for the reload.
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> bool:
        """It is about to end."""
        return self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                # A name of a source may hold bytes that are no text; systemd refuses what is not UTF-8.
                sender.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError:  # nobody listens, or more waits there than the kernel holds
            return False
        return True


def _address(name: str) -> bytes | None:
    """The socket's address; None for a kind that the protocol does not know."""
    address = os.fsencode(name)
    if address.startswith(b"@") and len(address) > 1:  # in Linux's abstract namespace, no file
        return b"\0" + address[1:]
    return address if address.startswith(b"/") else None


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    try:
        pid = int(environment.get("WATCHDOG_PID", os.getpid()))
        time_us = int(environment.get("WATCHDOG_USEC", 0))
    except ValueError:
        return None
    return time_us / 1e6 if time_us > 0 and pid == os.getpid() else None
