"""The devices that give access to a Raspberry Pi's firmware, as character devices (CUSE) in the virtual machine.

They validate messages like drivers/char/broadcom/vcio.c of Raspberry Pi's kernel, and answer as the firmware's
documentation specifies. The kernel's CUSE protocol is implemented here directly: include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import threading
from pathlib import Path

from v4l2_vm.checks import wait_for

_PROPERTY = 0xC008_6400
"""``_IOWR(100, 0, char *)`` on a system of 64 bits."""
_GET_THROTTLED, _GET_GENCMD_RESULT = 0x0003_0046, 0x0003_0080
_ANSWERED = 0x8000_0000

_OPEN, _RELEASE, _INTERRUPT, _IOCTL, _INIT = 14, 18, 36, 39, 4096
_UNRESTRICTED, _RETRY = 1, 4
_HEAD = struct.Struct("=IIQQIIII")
_REPLY = struct.Struct("=IiQ")
_IOCTL_IN = struct.Struct("=QIIQII")
_IOCTL_OUT = struct.Struct("=iIII")


class FirmwareDevice:
    """``/dev/NAME``, which reports the flags ``throttled``; with ``text_only`` it accepts only text commands."""

    def __init__(self, name: str, throttled: int, *, text_only: bool) -> None:
        self._throttled = throttled
        self._allowed = {_GET_GENCMD_RESULT} if text_only else {_GET_GENCMD_RESULT, _GET_THROTTLED}
        self.asked: list[int] = []
        """The tags of the messages that came."""
        self._cuse = os.open("/dev/cuse", os.O_RDWR)
        self._read()  # CUSE_INIT from the kernel
        info = f"DEVNAME={name}\0".encode()
        self._reply(self._unique, struct.pack("=10I40x", 7, 31, 0, _UNRESTRICTED, 4096, 4096, 0, 0, 0, 0)[:72] + info)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _read(self) -> tuple[int, bytes]:
        data = os.read(self._cuse, 1 << 17)
        _, opcode, self._unique, *_ = _HEAD.unpack_from(data)
        return opcode, data[_HEAD.size :]

    def _reply(self, unique: int, data: bytes = b"", error: int = 0) -> None:
        os.write(self._cuse, _REPLY.pack(_REPLY.size + len(data), -error, unique) + data)

    def _serve(self) -> None:
        while True:
            opcode, data = self._read()
            if opcode == _OPEN:
                self._reply(self._unique, struct.pack("=QII", 1, 0, 0))
            elif opcode == _IOCTL:
                self._ioctl(data)
            elif opcode == _RELEASE:
                self._reply(self._unique)
            elif opcode != _INTERRUPT:
                self._reply(self._unique, error=errno.ENOSYS)

    def _ioctl(self, data: bytes) -> None:
        _, _, command, address, given, _ = _IOCTL_IN.unpack_from(data)
        sent = data[_IOCTL_IN.size :][:given]
        if command != _PROPERTY:
            self._reply(self._unique, error=errno.EINVAL)
        elif not sent:  # first the size, then that many bytes
            self._ask_again(address, 4)
        elif len(sent) == 4:
            self._ask_again(address, max(12, struct.unpack("=I", sent)[0]))
        else:
            answer, error = self._answer(bytearray(sent))
            self._reply(self._unique, b"" if error else _IOCTL_OUT.pack(0, 0, 0, 0) + answer, error)

    def _ask_again(self, address: int, size: int) -> None:
        """Request ``size`` bytes of the caller's memory from the kernel; the answer has the same size."""
        vectors = struct.pack("=QQ", address, size) * 2
        self._reply(self._unique, _IOCTL_OUT.pack(0, _RETRY, 1, 1) + vectors)

    def _answer(self, message: bytearray) -> tuple[bytes, int]:
        """Return the message with its answer, and 0 or an error number."""
        tag, room = struct.unpack_from("=II", message, 8)
        self.asked.append(tag)
        if tag not in self._allowed:
            return b"", errno.EPERM
        if room > len(message) - 8 - 12:
            return b"", errno.EINVAL
        struct.pack_into("=I", message, 4, _ANSWERED)
        if tag == _GET_THROTTLED:
            struct.pack_into("=II", message, 16, _ANSWERED | 4, self._throttled)
        else:
            command = bytes(message[24:]).partition(b"\0")[0]
            known = command == b"get_throttled"
            text = f"throttled=0x{self._throttled:x}" if known else 'error=1 error_msg="Command not registered"'
            struct.pack_into("=II", message, 16, _ANSWERED | len(text), 0 if known else 1)
            message[24 : 24 + len(text) + 1] = text.encode() + b"\0"
        return bytes(message), 0


def firmware_device(throttled: int, *, text_only: bool) -> FirmwareDevice:
    """Create ``/dev/vcio_gencmd`` (``text_only``) or ``/dev/vcio``, owned by group video, until the machine stops."""
    subprocess.run(["modprobe", "cuse"], check=True)
    name = "vcio_gencmd" if text_only else "vcio"
    device = FirmwareDevice(name, throttled, text_only=text_only)
    path = Path("/dev") / name
    wait_for(path.exists, str(path))
    subprocess.run(["udevadm", "settle"], check=False)
    # Raspberry Pi OS has a udev rule for this.
    os.chown(path, 0, 44)
    path.chmod(0o660)
    return device
