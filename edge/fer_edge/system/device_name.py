"""The default name of this device towards brokers: unique, and the same after every start."""

from __future__ import annotations

import hashlib
import socket
from contextlib import suppress
from pathlib import Path

_SERIALS = ("sys/firmware/devicetree/base/serial-number", "etc/machine-id", "var/lib/dbus/machine-id")
"""A Pi's serial number, then machine-id(5), which clones of a card share."""
_UNUSABLE = {"", "uninitialized", "0000000000000000"}
_DIGITS = 6


def device_name(root: Path = Path("/")) -> str:
    """Return the host name with digits from a hash of the device's serial number, such as ``raspberrypi-3f9a1c``.

    Host names of Pis are often the same. The serial number itself is not sent, because machine-id(5) is confidential.
    Without a serial number it is the host name alone.
    """
    host = socket.gethostname()
    for name in _SERIALS:
        with suppress(OSError):
            serial = (root / name).read_bytes()[:128].strip(b"\0\n ").decode("ascii", "replace")
            if serial not in _UNUSABLE:
                return f"{host}-{hashlib.sha256(f'fer-edge {serial}'.encode()).hexdigest()[:_DIGITS]}"
    return host
