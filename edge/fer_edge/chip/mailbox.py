"""Ask the firmware of a Raspberry Pi what slows its chip down, as ``vcgencmd get_throttled`` does.

Since June 2026 group ``video`` may open only ``/dev/vcio_gencmd``, which accepts text commands and nothing else
(https://github.com/raspberrypi/linux/pull/7351); before, it was ``/dev/vcio``, which has a message for the flags too.
Messages and ioctl are those of the kernel's drivers/char/broadcom/vcio.c and of raspberrypi/utils' vcgencmd.c, and of
https://github.com/raspberrypi/firmware/wiki/Mailbox-property-interface. Not tried on hardware.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

DEVICES = Path("/dev")
GENCMD, MAILBOX = "vcio_gencmd", "vcio"
"""Names of the devices, asked in this order."""
_ASK = 0xC000_0000 | struct.calcsize("P") << 16 | 100 << 8
"""``_IOWR(100, 0, char *)``, whose number holds the size of a pointer."""
_ANSWERED = 0x8000_0000

_GET_THROTTLED = 0x0003_0046
_MESSAGE = struct.Struct("=7I")
"""Size in bytes, request or answer, then one tag: its number, room in bytes, bytes used, value; then the end."""

_GET_GENCMD_RESULT = 0x0003_0080
_COMMAND = b"get_throttled"
_ROOM = 1024
_TEXT_MESSAGE = struct.Struct(f"=6I{_ROOM}sI")
"""The same, with an error code in the place of the value and a text after it.

The error counts as part of the room, so that the message has four bytes more than its tag: as vcgencmd sends it.
"""


def throttled_request() -> bytes:
    """Return the message for ``/dev/vcio``, 28 bytes; a value of 0 leaves the flags as they are, others clear some."""
    return _MESSAGE.pack(_MESSAGE.size, 0, _GET_THROTTLED, 4, 0, 0, 0)


def throttled_answer(message: bytes) -> int | None:
    """Return the flags in the answer to ``throttled_request``; None for anything else."""
    if len(message) != _MESSAGE.size:
        return None
    _, code, tag, _, used, value, _ = _MESSAGE.unpack(message)
    return int(value) if code == _ANSWERED and tag == _GET_THROTTLED and used & _ANSWERED else None


def gencmd_request() -> bytes:
    """Return the message for ``/dev/vcio_gencmd``, 1052 bytes."""
    return _TEXT_MESSAGE.pack(_TEXT_MESSAGE.size, 0, _GET_GENCMD_RESULT, _ROOM, 0, 0, _COMMAND, 0)


def gencmd_answer(message: bytes) -> int | None:
    """Return the flags in the answer to ``gencmd_request``, ``throttled=0x50005``; None for anything else.

    The firmware's error code is 0 for a command that it knows.
    """
    if len(message) != _TEXT_MESSAGE.size:
        return None
    _, code, tag, _, _, error, text, _ = _TEXT_MESSAGE.unpack(message)
    if code != _ANSWERED or tag != _GET_GENCMD_RESULT or error != 0:
        return None
    match = re.fullmatch(rb"throttled=(0x[0-9a-fA-F]{1,8})\s*", text.partition(b"\0")[0])
    return int(match.group(1), 16) if match else None


def ask_throttled(devices: Path = DEVICES) -> int | None:
    """Return the flags now, from the first device in the folder ``devices`` that answers; None if none does."""
    for name, request, answer in (
        (GENCMD, gencmd_request, gencmd_answer),
        (MAILBOX, throttled_request, throttled_answer),
    ):
        message = _ask(devices / name, request())
        flags = None if message is None else answer(message)
        if flags is not None:
            return flags
    return None


def _ask(device: Path, request: bytes) -> bytes | None:
    """Return what ``device`` made of the message; None if it cannot be opened or refuses."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system, and so not a Raspberry Pi
        return None
    message = bytearray(request)
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(descriptor, _ASK, message)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return bytes(message)
