"""What the firmware of a Raspberry Pi says of its chip, asked as ``vcgencmd get_throttled`` asks.

Raspberry Pi's kernel had a file for it, ``get_throttled``, until March 2025
(https://github.com/raspberrypi/linux/pull/6697); since then ``/dev/vcio`` is what is left. No Pi has run this code so
far: what goes out and comes back is as the firmware's interface is documented,
https://github.com/raspberrypi/firmware/wiki/Mailbox-property-interface.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

MAILBOX = Path("/dev/vcio")
"""The device; group ``video`` may open it."""
_ASK = 0xC000_0000 | struct.calcsize("P") << 16 | 100 << 8
"""``_IOWR(100, 0, char *)``, whose number holds the size of a pointer."""
_GET_THROTTLED = 0x0003_0046
_ANSWERED = 0x8000_0000
_MESSAGE = struct.Struct("=7I")
"""Bytes of all, request or answer, then one tag: its number, room in bytes, bytes used, value; then the end."""


def throttled_request() -> bytes:
    """The question, 28 bytes; a value of 0 leaves the flags as they are, others would clear some."""
    return _MESSAGE.pack(_MESSAGE.size, 0, _GET_THROTTLED, 4, 0, 0, 0)


def throttled_answer(message: bytes) -> int | None:
    """The flags in an answer; None for what is no answer to ``throttled_request``."""
    if len(message) != _MESSAGE.size:
        return None
    _, code, tag, _, used, value, _ = _MESSAGE.unpack(message)
    return int(value) if code == _ANSWERED and tag == _GET_THROTTLED and used & _ANSWERED else None


def ask_throttled(device: Path = MAILBOX) -> int | None:
    """The flags now; None where there is no such device, or it may not be opened, or it does not answer so."""
    try:
        import fcntl
    except ImportError:  # no POSIX system, and so no Raspberry Pi
        return None
    message = bytearray(throttled_request())
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(descriptor, _ASK, message)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return throttled_answer(bytes(message))
