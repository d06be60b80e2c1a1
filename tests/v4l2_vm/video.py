"""V4L2 ioctls for programs in the virtual machine: controls, formats, and writing a video to a device.

They are written out here because Python's standard library does not support V4L2, and OpenCV cannot write to a device.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import mmap
import os
import select
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from v4l2_vm.film import FILM_FPS, HEIGHT, WIDTH

CAPTURE, OUTPUT = 1, 2
"""Buffer types, ``enum v4l2_buf_type``."""
NO_FIELD, SRGB = 1, 8
_MMAP = 1
_REQBUFS = 0xC014_5608
_QUERYBUF = 0xC058_5609
_QBUF = 0xC058_560F
_DQBUF = 0xC058_5611
_STREAMON, _STREAMOFF = 0x4004_5612, 0x4004_5613
_S_FMT = 0xC0D0_5605
_S_CTRL = 0xC008_561C
_S_DV_TIMINGS = 0xC084_5657
_VGA = struct.pack("=I4IQ9I2I2IBB46x", 0, 640, 480, 0, 0, 25_175_000, 16, 96, 48, 10, 2, 33, 0, 0, 0, 3, 0, 0, 0, 1, 0)
"""640 x 480 at 59.94 frames a second, by CEA-861: ``struct v4l2_dv_timings`` without its tail."""


def set_control(device: Path, control: int, value: int) -> None:
    """Set a control of ``device`` to ``value``. Raises OSError."""
    descriptor = os.open(device, os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, _S_CTRL, struct.pack("=Ii", control, value))
    finally:
        os.close(descriptor)


def set_vga_timings(device: Path) -> None:
    """Set an HDMI input or output of vivid to 640 x 480 pixels. Raises OSError."""
    descriptor = os.open(device, os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, _S_DV_TIMINGS, bytearray(_VGA.ljust(132, b"\0")))
    finally:
        os.close(descriptor)


def set_format(
    descriptor: int, kind: int, fourcc: str, *, size: int = 0, width: int = WIDTH, height: int = HEIGHT
) -> None:
    """Set the format of an open device; ``kind`` is CAPTURE or OUTPUT, ``size`` the bytes of a compressed frame.

    Raises:
        OSError: if the driver refuses, or selects another format or size.
    """
    (code,) = struct.unpack("<I", fourcc.encode())
    message = bytearray(
        struct.pack("=IIIIIIIII", kind, 0, width, height, code, NO_FIELD, 0, size, SRGB).ljust(208, b"\0")
    )
    fcntl.ioctl(descriptor, _S_FMT, message)
    taken = struct.unpack_from("=III", message, 8)
    if taken != (width, height, code):
        raise OSError(f"asked for {width}x{height} {fourcc}, got {taken[0]}x{taken[1]} {taken[2]:#x}")


class OutputStream:
    """Writes frames to a V4L2 output device through memory-mapped buffers.

    vivid rejects ``write``, and the driver of the USB camera does not implement it.
    """

    def __init__(self, descriptor: int, max_bytes: int, buffers: int = 4) -> None:
        self._descriptor = descriptor
        fcntl.ioctl(descriptor, _REQBUFS, bytearray(struct.pack("=5I", buffers, OUTPUT, _MMAP, 0, 0)))
        self._maps: list[mmap.mmap] = []
        for index in range(buffers):
            asked = bytearray(_buffer(index, 0))
            fcntl.ioctl(descriptor, _QUERYBUF, asked)
            offset, _, length = struct.unpack_from("=III", asked, 64)
            self._maps.append(mmap.mmap(descriptor, max(length, max_bytes), offset=offset))
        self._free = list(range(buffers))
        self.is_on = False

    def put(self, frame: bytes | memoryview, timeout_s: float) -> bool:
        """Queue ``frame`` once a buffer is free, and start the stream with the first; return False after a timeout."""
        if not self._free:
            _, writable, _ = select.select([], [self._descriptor], [], timeout_s)
            if not writable:
                return False
            taken = bytearray(_buffer(0, 0))
            fcntl.ioctl(self._descriptor, _DQBUF, taken)
            self._free.append(struct.unpack_from("=I", taken)[0])
        index = self._free.pop()
        self._maps[index][: len(frame)] = frame
        fcntl.ioctl(self._descriptor, _QBUF, bytearray(_buffer(index, len(frame))))
        if not self.is_on:
            fcntl.ioctl(self._descriptor, _STREAMON, struct.pack("=I", OUTPUT))
            self.is_on = True
        return True

    def close(self) -> None:
        """Stop the stream and release the buffers; the descriptor stays open."""
        with contextlib.suppress(OSError):  # the device may be gone
            fcntl.ioctl(self._descriptor, _STREAMOFF, struct.pack("=I", OUTPUT))
        for shared in self._maps:
            shared.close()
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._descriptor, _REQBUFS, bytearray(struct.pack("=5I", 0, OUTPUT, _MMAP, 0, 0)))


def _buffer(index: int, used: int) -> bytes:
    """A ``struct v4l2_buffer``."""
    head = struct.pack("=5I", index, OUTPUT, used, 0, NO_FIELD).ljust(60, b"\0")
    return (head + struct.pack("=I", _MMAP)).ljust(88, b"\0")


class Film:
    """Writes a video to a V4L2 output device in a loop, in a thread; a context manager."""

    def __init__(self, device: Path, frames: Sequence[bytes], fourcc: str, size: tuple[int, int]) -> None:
        self._frames = frames
        self._stop = threading.Event()
        self._descriptor = os.open(device, os.O_RDWR)
        set_format(self._descriptor, OUTPUT, fourcc, width=size[0], height=size[1])
        self._stream = OutputStream(self._descriptor, len(frames[0]))
        self._thread = threading.Thread(target=self._run, name="film")

    def __enter__(self) -> Film:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._stream.close()
        os.close(self._descriptor)

    def _run(self) -> None:
        due = time.monotonic()
        for frame in itertools.cycle(self._frames):
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            try:
                self._stream.put(frame, timeout_s=1.0)
            except OSError as error:
                if error.errno == errno.ENODEV:  # vivid unplugs its output together with the camera
                    return
                raise
            due = max(due + 1 / FILM_FPS, time.monotonic())
