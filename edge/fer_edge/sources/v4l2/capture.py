"""An open V4L2 device: its formats, and its stream of filled buffers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
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
"""One being filled, one ready, one being read, one spare."""
_MAX_FORMATS = 64
"""A driver that lists more formats is assumed to list them endlessly."""
_GONE = (errno.ENODEV, errno.ENXIO, errno.ENOENT)
"""Errors of a device that was unplugged or does not exist."""


@dataclass(frozen=True, slots=True)
class FilledBuffer:
    """A buffer with a picture.

    ``index`` is its number, ``data`` its bytes (valid until ``Capture.give_back``), and ``at`` the capture time in
    seconds of the monotonic clock. ``damaged`` is the driver's error flag.
    """

    index: int
    data: UInt8Array
    at: float
    damaged: bool


class Capture(Closing):
    """An open video capture device that is not streaming yet.

    ``display_name`` identifies it in errors. ``planes`` is true if it has only the multi-planar interface, which this
    class does not implement. ``driver`` is the name of its driver.

    Raises:
        SourceLostError: if the device is missing, cannot be opened or is not a camera.
    """

    def __init__(self, device: Path, display_name: str) -> None:
        self._display_name = display_name
        self._maps: list[mmap.mmap] = []
        self._streaming = False
        self.driver = ""
        try:
            self._descriptor: int | None = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceLostError(_why_not_opened(display_name, error)) from None
        try:
            self.planes = self._check_kind()
        except BaseException:
            self.close()
            raise

    def formats(self) -> list[str]:
        """Return the formats that the device offers, in the driver's order."""
        names = []
        for index in range(_MAX_FORMATS):
            description = structs.FormatDescription(index=index, type=structs.CAPTURE)
            if not self._accepts(structs.ENUM_FMT, description):  # the end of the list
                break
            names.append(structs.fourcc_name(description.pixelformat))
        return names

    def format(self) -> PixelFormat:
        """Return the current format."""
        return _pixel_format(self._get_format())

    def set_format(self, name: str, width: int, height: int) -> PixelFormat:
        """Request a format; return the one that the driver selected, the nearest it has. Not while streaming."""
        wanted = self._get_format()
        wanted.pixelformat, wanted.field = structs.fourcc_code(name), structs.FIELD_NONE
        wanted.width, wanted.height = width, height
        wanted.bytesperline = wanted.sizeimage = 0  # computed by the driver
        self._call(structs.S_FMT, wanted, "accept a format")
        return _pixel_format(wanted)

    def rate(self, wanted: float | None = None) -> float | None:
        """Return the frame rate, after requesting ``wanted``; None if the driver has no frame rate."""
        parameters = structs.StreamParameters(type=structs.CAPTURE)
        if wanted is not None:
            parameters.numerator, parameters.denominator = 1000, round(wanted * 1000)
        accepted = self._accepts(structs.G_PARM if wanted is None else structs.S_PARM, parameters)
        return parameters.denominator / parameters.numerator if accepted and parameters.numerator else None

    def control(self, number: int, value: int) -> bool:
        """Set a control. Return False if the camera does not have it or rejects the value."""
        return self._accepts(structs.S_CTRL, structs.Control(number, value))

    def start(self) -> None:
        """Map the buffers and start streaming. Raises SourceLostError."""
        request = structs.RequestBuffers(count=_BUFFERS, type=structs.CAPTURE, memory=structs.MEMORY_MMAP)
        self._call(structs.REQBUFS, request, "provide buffers")
        for index in range(request.count):
            buffer = structs.Buffer(index=index, type=structs.CAPTURE, memory=structs.MEMORY_MMAP)
            self._call(structs.QUERYBUF, buffer, "provide buffers")
            try:
                mapped = mmap.mmap(self._open_descriptor(), buffer.length, offset=buffer.offset)
            except (OSError, ValueError) as error:
                raise SourceLostError(f"{self._display_name}: cannot map its buffers: {error}") from None
            self._maps.append(mapped)
            self.give_back(index)
        self._call(structs.STREAMON, ctypes.c_int(structs.CAPTURE), "start")
        self._streaming = True

    def next(self, timeout_s: float) -> FilledBuffer | None:
        """Return the next picture, or None if there is none within ``timeout_s``. Return its buffer with ``give_back``.

        Raises:
            SourceLostError: if the camera is gone.
        """
        waiting = select.poll()
        waiting.register(self._open_descriptor(), select.POLLIN)
        ready = waiting.poll(max(0, round(timeout_s * 1000)))
        if not ready:
            return None
        buffer = structs.Buffer(type=structs.CAPTURE, memory=structs.MEMORY_MMAP)
        try:
            self._ioctl(structs.DQBUF, buffer)
        except OSError as error:
            no_data = isinstance(error, BlockingIOError)
            if no_data and ready[0][1] & select.POLLIN:
                return None
            # Without POLLIN the device reports an error and has no data: polling again would only take time.
            problem = "the camera stopped sending frames" + ("" if no_data else f": {error.strerror}")
            raise SourceLostError(f"{self._display_name}: {problem}; check its cable and power") from None
        if buffer.index >= len(self._maps):
            raise SourceLostError(f"{self._display_name}: its driver returned an unknown buffer, {buffer.index}")
        damaged = bool(buffer.flags & structs.BUFFER_ERROR)
        data = np.frombuffer(self._maps[buffer.index], np.uint8)[: buffer.bytesused]
        return FilledBuffer(buffer.index, data, buffer.seconds + buffer.microseconds / 1e6, damaged)

    def give_back(self, index: int) -> None:
        """Return a buffer to the camera. Raises SourceLostError if the camera is gone."""
        buffer = structs.Buffer(index=index, type=structs.CAPTURE, memory=structs.MEMORY_MMAP)
        self._call(structs.QBUF, buffer, "accept a buffer")

    def close(self) -> None:
        """Stop streaming, unmap the buffers and close the device. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            if self._streaming:
                fcntl.ioctl(descriptor, structs.STREAMOFF, ctypes.c_int(structs.CAPTURE))
        except OSError:
            pass  # the device is gone, and its stream with it
        finally:
            for mapped in self._maps:
                with suppress(BufferError):  # a picture is still referenced; it is unmapped with the last reference
                    mapped.close()
            self._maps.clear()
            os.close(descriptor)

    def _check_kind(self) -> bool:
        capability = structs.Capability()
        try:
            self._ioctl(structs.QUERYCAP, capability)
        except OSError as error:
            raise SourceLostError(
                f"{self._display_name}: {_gone_or(error, 'not a camera')}; fer-edge doctor lists the cameras"
            ) from None
        self.driver = capability.driver.decode("utf-8", "replace")
        powers = structs.node_capabilities(capability)
        if powers & structs.CAN_CAPTURE and powers & structs.CAN_STREAM and not powers & structs.CAN_CONVERT:
            return False
        if powers & structs.CAN_CAPTURE_PLANES and not powers & structs.CAN_CONVERT:
            return True
        metadata_only = powers & structs.CAN_CAPTURE_METADATA
        problem = "it provides camera metadata, not pictures" if metadata_only else "not a camera"
        raise SourceLostError(f"{self._display_name}: {problem}; fer-edge doctor lists the cameras")

    def _get_format(self) -> structs.Format:
        format = structs.Format(type=structs.CAPTURE)
        self._call(structs.G_FMT, format, "report its format")
        return format

    def _call(self, request: int, argument: ctypes.Structure | ctypes.c_int, what: str) -> None:
        try:
            self._ioctl(request, argument)
        except OSError as error:
            busy = "another program uses it" if error.errno == errno.EBUSY else error.strerror
            problem = _gone_or(error, f"the camera does not {what}: {busy}")
            raise SourceLostError(f"{self._display_name}: {problem}") from None

    def _accepts(self, request: int, argument: ctypes.Structure) -> bool:
        try:
            self._ioctl(request, argument)
        except OSError:
            return False
        return True

    def _ioctl(self, request: int, argument: ctypes.Structure | ctypes.c_int) -> None:
        fcntl.ioctl(self._open_descriptor(), request, argument)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise SourceLostError(f"{self._display_name}: it is closed")
        return self._descriptor


def _pixel_format(format: structs.Format) -> PixelFormat:
    return PixelFormat(
        structs.fourcc_name(format.pixelformat), int(format.width), int(format.height), int(format.bytesperline)
    )


def _why_not_opened(display_name: str, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{display_name}: permission denied; are you in the group video?"
            " sudo usermod -aG video $USER, then log in again"
        )
    if error.errno == errno.EBUSY:
        return f"{display_name}: another program uses it"
    missing = "camera not found; is it plugged in? fer-edge doctor lists the cameras"
    return f"{display_name}: {_gone_or(error, f'cannot be opened: {error.strerror}', missing)}"


def _gone_or(error: OSError, otherwise: str, gone: str = "the camera is gone; check its cable and power") -> str:
    return gone if error.errno in _GONE else otherwise
