"""One open V4L2 device: its formats, and the stream of its filled buffers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.errors import SourceLostError
from fer_edge.sources.v4l2 import structs
from fer_edge.sources.v4l2.formats import PixelFormat
from fer_edge.system.closing import Closing
from fer_edge.types import UInt8Array

_BUFFERS = 4
"""One being filled, one ready, one being read, one to spare."""
_MAX_FORMATS = 64
"""Formats that a driver may list before its list is taken for endless."""
_GONE = (errno.ENODEV, errno.ENXIO, errno.ENOENT)
"""Errors of a device that was unplugged, or is not there."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A buffer with a picture: its number, its bytes (good until ``Capture.give_back``), and when it was taken.

    ``at`` is seconds of the monotonic clock; ``damaged`` is what the driver says of the picture.
    """

    index: int
    data: UInt8Array
    at: float
    damaged: bool


class Capture(Closing):
    """An open device that can give pictures, not streaming yet.

    ``called`` names it in errors. Raises SourceLostError where it is not there, may not be opened, or is not a camera;
    ``planes`` is true where only the multi-planar interface reads it, which this class does not do. ``driver`` is the
    name of its driver.
    """

    def __init__(self, device: Path, called: str) -> None:
        self._called = called
        self._maps: list[mmap.mmap] = []
        self._views: list[UInt8Array] = []
        self._streaming = False
        self.driver = ""
        try:
            self._descriptor: int | None = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceLostError(_why_not_opened(called, error)) from None
        try:
            self.planes = self._check_kind()
        except BaseException:
            self.close()
            raise

    def formats(self) -> list[str]:
        """The formats that it offers, in the driver's order."""
        return list(self._formats())

    def format(self) -> PixelFormat:
        """The format that it is set to."""
        return _pixel_format(self._get_format())

    def set_format(self, name: str, width: int, height: int) -> PixelFormat:
        """Ask for a format; returns what the driver made of it, which may be its nearest. Not while it streams."""
        wanted = self._get_format()
        wanted.pixelformat, wanted.field = structs.fourcc_code(name), structs.FIELD_NONE
        wanted.width, wanted.height = width, height
        wanted.bytesperline = wanted.sizeimage = 0  # which the driver works out
        self._call(structs.S_FMT, wanted, "take a format")
        return _pixel_format(wanted)

    def rate(self, wanted: float | None = None) -> float | None:
        """Frames per second, after asking for ``wanted`` of them; None where the driver has no rate."""
        parameters = structs.StreamParameters(type=structs.CAPTURE)
        try:
            if wanted is not None:
                parameters.numerator, parameters.denominator = 1000, round(wanted * 1000)
                self._ioctl(structs.S_PARM, parameters)
            else:
                self._ioctl(structs.G_PARM, parameters)
        except OSError:
            return None
        return parameters.denominator / parameters.numerator if parameters.numerator else None

    def control(self, number: int, value: int) -> bool:
        """Set a control; False where the camera does not have it or does not take the value."""
        try:
            self._ioctl(structs.S_CTRL, structs.Control(number, value))
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Map the buffers and let the camera fill them. Raises SourceLostError."""
        request = structs.RequestBuffers(count=_BUFFERS, type=structs.CAPTURE, memory=structs.MEMORY_MMAP)
        self._call(structs.REQBUFS, request, "give memory for pictures")
        for index in range(request.count):
            buffer = structs.Buffer(index=index, type=structs.CAPTURE, memory=structs.MEMORY_MMAP)
            self._call(structs.QUERYBUF, buffer, "give memory for pictures")
            try:
                mapped = mmap.mmap(self._open_descriptor(), buffer.length, offset=buffer.offset)
            except (OSError, ValueError) as error:
                raise SourceLostError(f"{self._called}: its memory cannot be mapped: {error}") from None
            self._maps.append(mapped)
            self._views.append(np.frombuffer(mapped, np.uint8))
            self.give_back(index)
        self._call(structs.STREAMON, ctypes.c_int(structs.CAPTURE), "start")
        self._streaming = True

    def next(self, timeout_s: float) -> Filled | None:
        """The next picture, or None where there is none within ``timeout_s``. Its buffer must be given back.

        Raises SourceLostError when the camera is gone.
        """
        waiting = select.poll()
        waiting.register(self._open_descriptor(), select.POLLIN)
        ready = waiting.poll(max(0, round(timeout_s * 1000)))
        if not ready:
            return None
        buffer = structs.Buffer(type=structs.CAPTURE, memory=structs.MEMORY_MMAP)
        try:
            self._ioctl(structs.DQBUF, buffer)
        except BlockingIOError:
            if ready[0][1] & select.POLLIN:
                return None
            # An error is reported and there is nothing to read: asking again would only take time.
            raise SourceLostError(
                f"{self._called}: the camera stopped giving frames; check its cable and power"
            ) from None
        except OSError as error:
            raise SourceLostError(
                f"{self._called}: the camera stopped giving frames: {error.strerror}; check its cable and power"
            ) from None
        if buffer.index >= len(self._views):
            raise SourceLostError(f"{self._called}: its driver returned a buffer of unknown number {buffer.index}")
        damaged = bool(buffer.flags & structs.BUFFER_ERROR)
        data = self._views[buffer.index][: buffer.bytesused]
        return Filled(buffer.index, data, buffer.seconds + buffer.microseconds / 1e6, damaged)

    def give_back(self, index: int) -> None:
        """Let the camera fill this buffer again. Raises SourceLostError when it is gone."""
        buffer = structs.Buffer(index=index, type=structs.CAPTURE, memory=structs.MEMORY_MMAP)
        self._call(structs.QBUF, buffer, "take a buffer back")

    def close(self) -> None:
        """Stop, and let go of memory and device. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            if self._streaming:
                fcntl.ioctl(descriptor, structs.STREAMOFF, ctypes.c_int(structs.CAPTURE))
        except OSError:
            pass  # it is gone, and its stream with it
        finally:
            self._views.clear()
            for mapped in self._maps:
                with suppress(BufferError):  # a picture is still referenced: it is unmapped with the last of them
                    mapped.close()
            self._maps.clear()
            os.close(descriptor)

    def _check_kind(self) -> bool:
        capability = structs.Capability()
        try:
            self._ioctl(structs.QUERYCAP, capability)
        except OSError as error:
            raise SourceLostError(
                f"{self._called}: {_gone_or(error, 'not a camera')}; fer-edge doctor lists the cameras"
            ) from None
        self.driver = capability.driver.decode("utf-8", "replace")
        powers = structs.device_powers(capability)
        if powers & structs.CAN_CAPTURE and powers & structs.CAN_STREAM and not powers & structs.CAN_CONVERT:
            return False
        if powers & structs.CAN_CAPTURE_PLANES and not powers & structs.CAN_CONVERT:
            return True
        metadata = "gives metadata of a camera, no pictures" if powers & structs.CAN_CAPTURE_METADATA else "no camera"
        raise SourceLostError(f"{self._called}: {metadata}; fer-edge doctor lists the cameras")

    def _formats(self) -> Iterator[str]:
        for index in range(_MAX_FORMATS):
            description = structs.FormatDescription(index=index, type=structs.CAPTURE)
            try:
                self._ioctl(structs.ENUM_FMT, description)
            except OSError:  # EINVAL: the list is at its end
                return
            yield structs.fourcc_name(description.pixelformat)

    def _get_format(self) -> structs.Format:
        format = structs.Format(type=structs.CAPTURE)
        self._call(structs.G_FMT, format, "say what it gives")
        return format

    def _call(self, request: int, argument: ctypes.Structure | ctypes.c_int, what: str) -> None:
        try:
            self._ioctl(request, argument)
        except OSError as error:
            busy = "another program uses it" if error.errno == errno.EBUSY else error.strerror
            raise SourceLostError(f"{self._called}: {_gone_or(error, f'the camera does not {what}: {busy}')}") from None

    def _ioctl(self, request: int, argument: ctypes.Structure | ctypes.c_int) -> None:
        fcntl.ioctl(self._open_descriptor(), request, argument)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise SourceLostError(f"{self._called}: it is closed")
        return self._descriptor


def _pixel_format(format: structs.Format) -> PixelFormat:
    return PixelFormat(
        structs.fourcc_name(format.pixelformat), int(format.width), int(format.height), int(format.bytesperline)
    )


def _why_not_opened(called: str, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{called}: may not be opened; are you in the group video? sudo usermod -aG video $USER, then log in again"
        )
    if error.errno == errno.EBUSY:
        return f"{called}: another program uses it"
    missing = "there is no such camera; is it plugged in? fer-edge doctor lists the cameras"
    return f"{called}: {_gone_or(error, f'cannot be opened: {error.strerror}', missing)}"


def _gone_or(error: OSError, otherwise: str, gone: str = "the camera is gone; check its cable and power") -> str:
    return gone if error.errno in _GONE else otherwise
