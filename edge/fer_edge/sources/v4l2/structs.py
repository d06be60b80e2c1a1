"""V4L2 structures and ioctl numbers, from linux/videodev2.h for 64-bit systems.

https://docs.kernel.org/userspace-api/media/v4l/user-func.html
"""

from __future__ import annotations

import ctypes
from typing import ClassVar

_U8, _U32, _S32, _LONG = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_int32, ctypes.c_int64

CAPTURE = 1
"""V4L2_BUF_TYPE_VIDEO_CAPTURE"""
MEMORY_MMAP = 1
FIELD_NONE = 1
"""Progressive pictures."""

CAN_CAPTURE = 0x0000_0001
CAN_CAPTURE_PLANES = 0x0000_1000
"""Planes in separate buffers; USB cameras do not have them."""
CAN_CONVERT = 0x0000_4000 | 0x0000_8000
"""Memory to memory: a codec or a scaler, which does not capture pictures."""
CAN_CAPTURE_METADATA = 0x0080_0000
CAN_STREAM = 0x0400_0000
HAS_DEVICE_CAPS = 0x8000_0000

BUFFER_ERROR = 0x0000_0040
"""The driver detected that this picture is damaged."""

EXPOSURE_AUTO = 0x009A_0901
EXPOSURE_MANUAL = 1
"""Value of EXPOSURE_AUTO, https://docs.kernel.org/userspace-api/media/v4l/ext-ctrls-camera.html"""
EXPOSURE_ABSOLUTE = 0x009A_0902
"""In units of 100 microseconds."""
FOCUS_AUTO = 0x009A_090C
GAIN = 0x0098_0913


def _u32(*names: str) -> list[tuple[str, type[ctypes.c_uint32]]]:
    """Return consecutive members of type __u32."""
    return [(name, _U32) for name in names]


class Capability(ctypes.Structure):
    """struct v4l2_capability"""

    _fields_: ClassVar = [
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        *_u32("version", "capabilities", "device_caps"),
        ("reserved", _U32 * 3),
    ]


class FormatDescription(ctypes.Structure):
    """struct v4l2_fmtdesc"""

    _fields_: ClassVar = [
        *_u32("index", "type", "flags"),
        ("description", ctypes.c_char * 32),
        *_u32("pixelformat", "mbus_code"),
        ("reserved", _U32 * 3),
    ]


class Format(ctypes.Structure):
    """struct v4l2_format with the start of its member ``pix``, a struct v4l2_pix_format.

    Other members of the union hold pointers, hence ``alignment``.
    """

    _fields_: ClassVar = [
        *_u32("type", "alignment", "width", "height", "pixelformat", "field", "bytesperline", "sizeimage"),
        ("rest", _U8 * (200 - 24)),
    ]


class RequestBuffers(ctypes.Structure):
    """struct v4l2_requestbuffers"""

    _fields_: ClassVar = _u32("count", "type", "memory", "capabilities", "flags_and_reserved")


class Buffer(ctypes.Structure):
    """struct v4l2_buffer; its union ``m`` is the offset of a mapped buffer."""

    _fields_: ClassVar = [
        *_u32("index", "type", "bytesused", "flags", "field"),
        ("seconds", _LONG),
        ("microseconds", _LONG),
        ("timecode", _U8 * 16),
        *_u32("sequence", "memory", "offset", "offset_rest", "length", "reserved"),
        ("request", _S32),
    ]


class StreamParameters(ctypes.Structure):
    """struct v4l2_streamparm with its member ``capture``."""

    _fields_: ClassVar = [
        *_u32("type", "capability", "capturemode", "numerator", "denominator"),
        ("rest", _U8 * (200 - 16)),
    ]


class Control(ctypes.Structure):
    """struct v4l2_control"""

    _fields_: ClassVar = [("id", _U32), ("value", _S32)]


_WRITE, _READ = 1, 2


def _request(direction: int, number: int, argument: type[ctypes.Structure] | type[ctypes.c_int]) -> int:
    """Return the ioctl number, as _IOC('V', …) does; the direction bits are equal on all supported machines."""
    return direction << 30 | ctypes.sizeof(argument) << 16 | ord("V") << 8 | number


QUERYCAP = _request(_READ, 0, Capability)
ENUM_FMT = _request(_READ | _WRITE, 2, FormatDescription)
G_FMT = _request(_READ | _WRITE, 4, Format)
S_FMT = _request(_READ | _WRITE, 5, Format)
REQBUFS = _request(_READ | _WRITE, 8, RequestBuffers)
QUERYBUF = _request(_READ | _WRITE, 9, Buffer)
QBUF = _request(_READ | _WRITE, 15, Buffer)
DQBUF = _request(_READ | _WRITE, 17, Buffer)
STREAMON = _request(_WRITE, 18, ctypes.c_int)
STREAMOFF = _request(_WRITE, 19, ctypes.c_int)
G_PARM = _request(_READ | _WRITE, 21, StreamParameters)
S_PARM = _request(_READ | _WRITE, 22, StreamParameters)
S_CTRL = _request(_READ | _WRITE, 28, Control)


def node_capabilities(capability: Capability) -> int:
    """Return the capabilities of this device node; ``capabilities`` covers all nodes of its driver."""
    whole = int(capability.capabilities)
    return int(capability.device_caps) if whole & HAS_DEVICE_CAPS else whole


def fourcc_name(code: int) -> str:
    """Return the characters of a pixel format without trailing blanks: ``YUYV``, ``Y16``."""
    letters = (code & 0x7FFF_FFFF).to_bytes(4, "little").decode("ascii", "replace").rstrip()
    return f"{letters}-BE" if code & 0x8000_0000 else letters


def fourcc_code(name: str) -> int:
    """Return the number of the pixel format named ``name``; the inverse of ``fourcc_name``."""
    letters = name.removesuffix("-BE")
    return int.from_bytes(letters.ljust(4).encode("ascii"), "little") | (0x8000_0000 if letters != name else 0)
