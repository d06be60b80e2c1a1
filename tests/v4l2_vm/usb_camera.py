"""A USB camera for the kernel's uvcvideo driver, which can be plugged in and unplugged.

The kernel's virtual host controller (vhci_hcd, USB/IP) forwards each request for the device through a socket to this
program, which implements the device. The kernel's UVC gadget with dummy_hcd does not work: the gadget streams with
isochronous transfers, and dummy_hcd fails all of these (drivers/usb/gadget/udc/dummy_hcd.c, "fail all xfers").
Messages: Documentation/usb/usbip_protocol.rst.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from pathlib import Path

from v4l2_vm import usb_descriptors as usb
from v4l2_vm.checks import wait_for
from v4l2_vm.film import FILM_FPS, film
from v4l2_vm.usb_descriptors import MAX_PAYLOAD, Mode

_VHCI = Path("/sys/devices/platform/vhci_hcd.0")
_HIGH_SPEED = 3
_HEADER = struct.Struct(">5I")
_SUBMITTED = struct.Struct(">IiiiI8s")
_CMD_SUBMIT, _CMD_UNLINK, _RET_SUBMIT, _RET_UNLINK = 1, 2, 3, 4
_STALL, _UNLINKED = -32, -104
_SET_CUR, _GET_LEN, _GET_INFO = 0x01, 0x85, 0x86
_PROBE, _COMMIT = 1, 2
OFFERED = {"YUYV": [(640, 480)], "MJPG": [(640, 480), (1280, 720)]}


class UsbCamera:
    """A camera that shows the video in the formats and sizes ``offered``, at no more than ``fps`` frames a second."""

    def __init__(self, offered: dict[str, list[tuple[int, int]]] | None = None, fps: float = FILM_FPS, port: int = 0):
        self._modes = usb.modes(offered or OFFERED)
        self._fps = fps
        self._port = port
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def plug_in(self) -> Path:
        """Connect the camera and return its device once it exists."""
        subprocess.run(["modprobe", "-a", "vhci-hcd", "uvcvideo"], check=True)
        before = _cameras()
        ours, kernels = socket.socketpair()
        self._socket = ours
        self._thread = threading.Thread(target=self._serve, args=(ours,), name="usb-camera", daemon=True)
        self._thread.start()
        # The kernel takes over the descriptor from the process that writes its number.
        device_id = 1 << 16 | self._port + 2
        (_VHCI / "attach").write_text(f"{self._port} {kernels.fileno()} {device_id} {_HIGH_SPEED}")
        kernels.close()
        return wait_for(lambda: next(iter(_cameras() - before), None), "the USB camera's device")

    def pull_out(self) -> None:
        """Disconnect the camera, even while it is in use."""
        (_VHCI / "detach").write_text(str(self._port))
        assert self._socket is not None and self._thread is not None
        self._thread.join()
        self._socket.close()

    def _serve(self, link: socket.socket) -> None:
        """Act as the device until the kernel closes the connection."""
        with contextlib.suppress(ConnectionError):
            _Device(link, self._modes, self._fps).run()


class _Device:
    """The state of the device: the negotiated mode, the host's pending requests, and the rest of the frame."""

    def __init__(self, link: socket.socket, modes: list[Mode], fps: float) -> None:
        self._link = link
        self._modes = {mode.number: mode for mode in modes}
        self._mode = modes[0]
        self._fps = fps
        self._films: dict[Mode, list[bytes]] = {}
        self._waiting: deque[tuple[int, int]] = deque()
        self._rest = memoryview(b"")
        self._number = self._toggle = 0
        self._due = 0.0

    def run(self) -> None:
        while True:
            wait_s = max(0.0, self._due - time.monotonic()) if self._waiting else None
            readable, _, _ = select.select([self._link], [], [], wait_s)
            if readable:
                self._take()
            while self._waiting and (self._rest or time.monotonic() >= self._due):
                self._send_payload()

    def _take(self) -> None:
        """Process one message from the host."""
        command, sequence, _, direction, endpoint = _HEADER.unpack(self._receive(_HEADER.size))
        submitted = self._receive(_SUBMITTED.size)
        if command == _CMD_UNLINK:
            self._unlink(sequence, struct.unpack_from(">I", submitted)[0])
            return
        _, length, _, _, _, setup = _SUBMITTED.unpack(submitted)
        data = self._receive(length) if direction == 0 else b""
        if endpoint:
            self._waiting.append((sequence, length))
            return
        answer = self._control(setup, data)
        if answer is None:
            self._answer(sequence, _STALL)
        elif direction == 0:
            self._answer(sequence, 0, used=length)
        else:
            self._answer(sequence, 0, answer[:length])

    def _control(self, setup: bytes, data: bytes) -> bytes | None:
        """Return the answer to a control request; None rejects it."""
        kind, request, value, index, _ = struct.unpack("<BBHHH", setup)
        if kind & 0x60 == 0x20:  # a request of the video class
            if index & 0xFF != 1 or value >> 8 not in (_PROBE, _COMMIT):
                return None  # brightness and similar controls
            return self._negotiate(request, committed=value >> 8 == _COMMIT, proposal=data)
        if kind & 0x80 and request == 6:  # GET_DESCRIPTOR
            described = {
                1: usb.device_descriptor(),
                2: usb.configuration_descriptor(list(self._modes.values())),
                3: usb.string_descriptor(value & 0xFF),
            }
            return described.get(value >> 8)
        return b"\0\0" if kind & 0x80 else b""  # GET_STATUS; SET_CONFIGURATION and others need no answer

    def _negotiate(self, request: int, *, committed: bool, proposal: bytes) -> bytes:
        if request == _GET_INFO:
            return b"\x03"
        if request == _GET_LEN:
            return struct.pack("<H", 26)
        if request == _SET_CUR:
            self._mode = self._modes.get((proposal[2], proposal[3]), self._mode)
            if committed:  # a new stream starts with a complete frame
                self._rest, self._due = memoryview(b""), 0.0
        return usb.streaming_control(self._mode)

    def _send_payload(self) -> None:
        """Answer the oldest pending request with the next part of the frame."""
        if not self._rest:
            if self._mode not in self._films:
                self._films[self._mode] = film(self._mode.fourcc, self._mode.width)
            frames = self._films[self._mode]
            self._number = (self._number + 1) % len(frames)
            self._rest = memoryview(frames[self._number])
            self._toggle ^= 1
        sequence, length = self._waiting.popleft()
        part, self._rest = self._rest[: min(length, MAX_PAYLOAD) - 2], self._rest[min(length, MAX_PAYLOAD) - 2 :]
        last = 0 if self._rest else 2
        self._answer(sequence, 0, bytes([2, 0x80 | last | self._toggle]) + part)
        if last:
            self._due = max(self._due + 1 / self._fps, time.monotonic())

    def _unlink(self, sequence: int, unlinked: int) -> None:
        """Remove a pending request; it may have been answered already."""
        waiting = [entry for entry in self._waiting if entry[0] != unlinked]
        status = _UNLINKED if len(waiting) < len(self._waiting) else 0
        self._waiting = deque(waiting)
        self._link.sendall(_HEADER.pack(_RET_UNLINK, sequence, 0, 0, 0) + struct.pack(">i24x", status))

    def _answer(self, sequence: int, status: int, data: bytes = b"", used: int = 0) -> None:
        head = _HEADER.pack(_RET_SUBMIT, sequence, 0, 0, 0)
        self._link.sendall(head + struct.pack(">iiiii8x", status, len(data) or used, 0, 0, 0) + data)

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._link.recv(count - len(data))
            if not part:
                raise ConnectionResetError("the kernel has closed the connection")
            data += part
        return data


def _cameras() -> set[Path]:
    """Return the capture devices of uvcvideo; its second device is for metadata."""
    found = set()
    for folder in Path("/sys/class/video4linux").glob("video*"):
        with contextlib.suppress(OSError):  # one that is being removed
            driver = (folder / "device" / "driver").resolve().name
            if driver == "uvcvideo" and (folder / "index").read_text().strip() == "0":
                found.add(Path("/dev") / folder.name)
    return {device for device in found if device.exists()}
