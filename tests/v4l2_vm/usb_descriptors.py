"""Descriptors of a UVC 1.0 camera with a bulk endpoint, in the order in which a host reads them.

USB Device Class Definition for Video Devices, 1.0a: sections 3.7 and 3.9; payload formats have separate documents.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

VENDOR_ID, PRODUCT_ID = 0x1209, 0x0001
"""Reserved for tests by pid.codes."""
STRINGS = ("FER-Edge", "Test camera", "0001")
STREAM_ENDPOINT = 0x81
MAX_PAYLOAD = 32 * 512
"""Bytes of a payload with its header: the size of uvcvideo's requests, so that each of them is one payload."""
_FRAME_INTERVAL = 10_000_000 // 30
"""Units of 100 ns."""
_CONTROL, _STREAMING = 0, 1
_INTERFACE, _ENDPOINT, _ASSOCIATION, _CLASS = 4, 5, 11, 0x24
_VIDEO = 0x0E
_YUYV = bytes.fromhex("5955593200001000800000aa00389b71")


@dataclass(frozen=True, slots=True)
class Mode:
    """A format, ``YUYV`` or ``MJPG``, and a size in pixels; ``number`` is the index of format and frame, from 1."""

    fourcc: str
    width: int
    height: int
    number: tuple[int, int]

    @property
    def max_bytes(self) -> int:
        """Maximum bytes of a frame."""
        return self.width * self.height * 2


def modes(offered: dict[str, list[tuple[int, int]]]) -> list[Mode]:
    """Return the modes of a camera that offers these sizes in these formats, in this order."""
    return [
        Mode(fourcc, width, height, (which, index))
        for which, (fourcc, sizes) in enumerate(offered.items(), 1)
        for index, (width, height) in enumerate(sizes, 1)
    ]


def device_descriptor() -> bytes:
    """Return the device descriptor; its class announces interface associations."""
    head = struct.pack("<BBHBBBB", 18, 1, 0x0200, 0xEF, 2, 1, 64)
    return head + struct.pack("<HHHBBBB", VENDOR_ID, PRODUCT_ID, 0x0100, 1, 2, 3, 1)


def string_descriptor(number: int) -> bytes | None:
    """Return a name, or for 0 the list of languages (English); None if this number has no string."""
    if number > len(STRINGS):
        return None
    data = struct.pack("<H", 0x0409) if number == 0 else STRINGS[number - 1].encode("utf-16-le")
    return bytes([2 + len(data), 3]) + data


def configuration_descriptor(offered: list[Mode]) -> bytes:
    """Return the only configuration, including all other descriptors."""
    streams = _class_specific(0x0D, 1, 1, 4)  # sRGB colours
    for fourcc in reversed(dict.fromkeys(mode.fourcc for mode in offered)):
        streams = _format([mode for mode in offered if mode.fourcc == fourcc]) + streams
    count = len({mode.fourcc for mode in offered})
    head = struct.pack("<BBBBHB", 13 + count, _CLASS, 1, count, 13 + count + len(streams), STREAM_ENDPOINT)
    # No capabilities, terminal 2, no still pictures, no trigger button, and one byte of controls per format.
    head += bytes([0, 2, 0, 0, 0, 1]) + bytes(count)
    camera = _class_specific(2, 1, 0x01, 0x02, *[0] * 8, 3, 0, 0, 0)
    output = _class_specific(3, 2, 0x01, 0x01, 0, 1, 0)
    control = struct.pack("<BBBHHIBB", 13, _CLASS, 1, 0x0100, 13 + len(camera + output), 48_000_000, 1, _STREAMING)
    parts = [
        bytes([8, _ASSOCIATION, _CONTROL, 2, _VIDEO, 3, 0, 2]),
        bytes([9, _INTERFACE, _CONTROL, 0, 0, _VIDEO, 1, 0, 2]),
        control + camera + output,
        bytes([9, _INTERFACE, _STREAMING, 0, 1, _VIDEO, 2, 0, 0]),
        head + streams,
        struct.pack("<BBBBHB", 7, _ENDPOINT, STREAM_ENDPOINT, 2, 512, 0),
    ]
    body = b"".join(parts)
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), 2, 1, 0, 0x80, 50) + body


def streaming_control(mode: Mode) -> bytes:
    """Return the parameters of ``mode`` as the host reads and proposes them: 26 bytes."""
    head = struct.pack("<HBBIHHHHH", 1, *mode.number, _FRAME_INTERVAL, 0, 0, 0, 0, 0)
    return head + struct.pack("<II", mode.max_bytes, MAX_PAYLOAD)


def _format(offered: list[Mode]) -> bytes:
    which = offered[0].number[0]
    if offered[0].fourcc == "MJPG":
        described = _class_specific(6, which, len(offered), 1, 1, 0, 0, 0, 0)
    else:
        described = _class_specific(4, which, len(offered), *_YUYV, 16, 1, 0, 0, 0, 0)
    for mode in offered:
        rate = mode.max_bytes * 8 * 30
        frame = struct.pack("<BBHHIII", mode.number[1], 0, mode.width, mode.height, rate, rate, mode.max_bytes)
        frame += struct.pack("<IBI", _FRAME_INTERVAL, 1, _FRAME_INTERVAL)
        described += _class_specific(7 if mode.fourcc == "MJPG" else 5, *frame)
    return described


def _class_specific(kind: int, *data: int) -> bytes:
    return bytes([3 + len(data), _CLASS, kind, *data])
