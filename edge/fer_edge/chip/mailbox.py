"""Query the throttling flags of the Raspberry Pi firmware, like ``vcgencmd get_throttled``.

Since June 2026 the group ``video`` has access to ``/dev/vcio_gencmd`` only, which accepts text commands
(https://github.com/raspberrypi/linux/pull/7351). Before, it had access to ``/dev/vcio``, which also has a binary
message for the flags. Messages and ioctl follow the kernel's drivers/char/broadcom/vcio.c, raspberrypi/utils'
vcgencmd.c and
https://github.com/raspberrypi/firmware/wiki/Mailbox-property-interface. Not tested on hardware.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

DEVICES = Path("/dev")
GENCMD, MAILBOX = "vcio_gencmd", "vcio"
"""Device names, queried in this order."""
_IOCTL = 0xC000_0000 | struct.calcsize("P") << 16 | 100 << 8
"""``_IOWR(100, 0, char *)``, whose number contains the size of a pointer."""
_SUCCESS = 0x8000_0000

_GET_THROTTLED = 0x0003_0046
_MESSAGE = struct.Struct("=7I")
"""Message size in bytes, request or response code, one tag (id, buffer size, bytes used, value), end tag."""

_GET_GENCMD_RESULT = 0x0003_0080
_BUFFER_BYTES = 1024
_TEXT_MESSAGE = struct.Struct(f"=6I{_BUFFER_BYTES}sI")
"""The same with an error code instead of the value, followed by text.

As in vcgencmd, the buffer size includes the error code, so that the message is four bytes longer than its tag.
"""

THROTTLED_REQUEST = _MESSAGE.pack(_MESSAGE.size, 0, _GET_THROTTLED, 4, 0, 0, 0)
"""Message for ``/dev/vcio``, 28 bytes. The value 0 clears no flags."""
GENCMD_REQUEST = _TEXT_MESSAGE.pack(_TEXT_MESSAGE.size, 0, _GET_GENCMD_RESULT, _BUFFER_BYTES, 0, 0, b"get_throttled", 0)
"""Message for ``/dev/vcio_gencmd``, 1052 bytes."""


def throttled_answer(message: bytes) -> int | None:
    """Return the flags in a response to ``THROTTLED_REQUEST``, None if ``message`` is not a valid response."""
    if len(message) != _MESSAGE.size:
        return None
    _, code, tag, _, used, value, _ = _MESSAGE.unpack(message)
    return int(value) if code == _SUCCESS and tag == _GET_THROTTLED and used & _SUCCESS else None


def gencmd_answer(message: bytes) -> int | None:
    """Return the flags in a response to ``GENCMD_REQUEST``, such as ``throttled=0x50005``; None if it is not valid.

    The firmware's error code is 0 for a known command.
    """
    if len(message) != _TEXT_MESSAGE.size:
        return None
    _, code, tag, _, _, error, text, _ = _TEXT_MESSAGE.unpack(message)
    if code != _SUCCESS or tag != _GET_GENCMD_RESULT or error != 0:
        return None
    match = re.fullmatch(rb"throttled=(0x[0-9a-fA-F]{1,8})\s*", text.partition(b"\0")[0])
    return int(match.group(1), 16) if match else None


def query_throttled(devices: Path = DEVICES) -> int | None:
    """Return the current flags from the first device in the folder ``devices`` that responds; None if none does."""
    for name, request, answer in (
        (GENCMD, GENCMD_REQUEST, gencmd_answer),
        (MAILBOX, THROTTLED_REQUEST, throttled_answer),
    ):
        message = _exchange(devices / name, request)
        flags = None if message is None else answer(message)
        if flags is not None:
            return flags
    return None


def _exchange(device: Path, request: bytes) -> bytes | None:
    """Send ``request`` to ``device`` and return the response; None if it cannot be opened or rejects the request."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system, and so not a Raspberry Pi
        return None
    message = bytearray(request)
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(descriptor, _IOCTL, message)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return bytes(message)
