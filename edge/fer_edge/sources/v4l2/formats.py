"""Grey pictures from the bytes of a V4L2 buffer: a plane of them as it is, one conversion, or a decoded JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fer_edge.images.files import jpeg_is_whole
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import UInt8Array

JPEGS = ("MJPG", "JPEG")
_LUMA = {
    # name: bytes from one pixel to the next, place of the brightness (the high byte of 16 bits) among them
    **dict.fromkeys(("GREY", "NV12", "NV21", "NV16", "NV61", "NV24", "NV42"), (1, 0)),
    **dict.fromkeys(("YU12", "YV12", "422P", "411P", "YUV9", "YVU9"), (1, 0)),
    **dict.fromkeys(("YUYV", "YVYU", "Y16-BE"), (2, 0)),
    **dict.fromkeys(("UYVY", "VYUY", "Y16"), (2, 1)),
}
"""Formats that hold the grey picture: planes of their own with the brightness first, or one byte of each pixel."""
_CONVERTED = {
    # name: bytes for each pixel, OpenCV's conversion
    "RGB3": (3, cv2.COLOR_RGB2GRAY),
    "BGR3": (3, cv2.COLOR_BGR2GRAY),
    "XR24": (4, cv2.COLOR_BGRA2GRAY),
    "AR24": (4, cv2.COLOR_BGRA2GRAY),
    "BGR4": (4, cv2.COLOR_BGRA2GRAY),
    "XB24": (4, cv2.COLOR_RGBA2GRAY),
    "AB24": (4, cv2.COLOR_RGBA2GRAY),
    # OpenCV names a mosaic by the second and third pixel of its second row.
    "RGGB": (1, cv2.COLOR_BayerBG2GRAY),
    "BA81": (1, cv2.COLOR_BayerRG2GRAY),
    "GBRG": (1, cv2.COLOR_BayerGR2GRAY),
    "GRBG": (1, cv2.COLOR_BayerGB2GRAY),
}
_DEEP = {"Y10": 1 / 4, "Y12": 1 / 16}
"""Formats of 16 bits a pixel that use the lower ones, and what brings them to 8."""
_REDUCED = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 8: cv2.IMREAD_REDUCED_GRAYSCALE_8}
_PADDED_ROWS = 15
"""JPEG is made of blocks of 16 rows; some cameras report the rows of whole blocks, as 1088 for 1080."""

READABLE = (*_LUMA, *_CONVERTED, *_DEEP, *JPEGS)
"""The formats that can be read, by the names that ``structs.fourcc_name`` gives."""


class DamagedPictureError(ValueError):
    """The bytes of one picture are not what the format says; the next one may be good."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """What a driver agreed to: a format's name, width and height in pixels, and bytes from one row to the next."""

    name: str
    width: int
    height: int
    stride: int

    def __str__(self) -> str:
        return f"{self.name} {self.width}x{self.height}"


def choose_format(offered: Sequence[str], current: str, width: int, height: int) -> str | None:
    """The format to ask of a camera that offers these, for pictures of this size; None when none can be read.

    Above 640x480 a compressed one: uncompressed pictures take more than USB 2 carries at a full rate. Else what the
    driver is set to, or the first of those that it offers.
    """
    if width * height > 640 * 480:
        compressed = next((name for name in offered if name in JPEGS), None)
        if compressed is not None:
            return compressed
    return next((name for name in (current, *offered) if name in READABLE), None)


def jpeg_reduction(format: PixelFormat, width: int, height: int) -> int:
    """8, 4 or 2 where the camera's pictures divided by that are still as large as the size asked for, else 1.

    Decoding to a part of the size costs a part of the time; only whole blocks are taken, so that no row is rounded.
    """
    fits = (part for part in sorted(_REDUCED, reverse=True) if format.width % part == format.height % part == 0)
    return next((part for part in fits if format.width // part >= width and format.height // part >= height), 1)


def gray_picture(data: UInt8Array, format: PixelFormat, reduction: int = 1) -> UInt8Array:
    """A grey picture, uint8 [height, width], of its own memory, from a buffer uint8 [bytes] filled in ``format``.

    ``reduction`` divides both sides of a JPEG. Raises DamagedPictureError for too few bytes, or a JPEG that is cut
    short, cannot be decoded, or is of another size. The format's name must be in ``READABLE``.
    """
    if format.name in JPEGS:
        return _decoded(data, format, reduction)
    height, width, stride = format.height, format.width, format.stride
    if format.name in _LUMA:
        step, place = _LUMA[format.name]
        pixels = _pixels(data, (height, width, step), stride)
        return pixels[:, :, 0].copy() if step == 1 else np.asarray(cv2.extractChannel(pixels, place), np.uint8)
    if format.name in _DEEP:
        _pixels(data, (height, width, 2), stride)  # which checks that all is there
        wide = np.ndarray((height, width), "<u2", data, strides=(stride, 2))
        return np.asarray(cv2.convertScaleAbs(wide, alpha=_DEEP[format.name]), np.uint8)
    step, conversion = _CONVERTED[format.name]
    pixels = _pixels(data, (height, width, step), stride)
    return np.asarray(cv2.cvtColor(pixels[:, :, 0] if step == 1 else pixels, conversion), np.uint8)


def _pixels(data: UInt8Array, shape: tuple[int, int, int], stride: int) -> UInt8Array:
    """A view uint8 [height, width, bytes of a pixel] of the rows in ``data``, without what stands after each row."""
    height, width, step = shape
    if stride < width * step:
        raise DamagedPictureError(f"rows of {stride} bytes cannot hold {width} pixels of {step} bytes")
    if data.size < (height - 1) * stride + width * step:
        raise DamagedPictureError(f"{data.size} bytes, where {height} rows of {stride} bytes were to come")
    return np.ndarray(shape, np.uint8, data, strides=(stride, step, 1))


def _decoded(data: UInt8Array, format: PixelFormat, reduction: int) -> UInt8Array:
    encoded = data.tobytes()
    if not encoded.startswith(b"\xff\xd8") or not jpeg_is_whole(encoded):
        raise DamagedPictureError("a JPEG that is cut short")
    flag = _REDUCED.get(reduction, cv2.IMREAD_GRAYSCALE)
    try:
        with hidden_stderr():  # libjpeg complains there of each damaged picture
            # Cameras do not turn; a picture that claims to be turned would be one of another size.
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise DamagedPictureError(f"a JPEG that cannot be decoded: {error.err}") from None
    if image is None:
        raise DamagedPictureError("a JPEG that cannot be decoded")
    height, width = format.height // reduction, format.width // reduction
    if image.shape[1] != width or not height <= image.shape[0] <= height + _PADDED_ROWS // reduction:
        got = f"{image.shape[1] * reduction}x{image.shape[0] * reduction}"
        raise DamagedPictureError(f"a JPEG of {got}, where {format.width}x{format.height} was agreed on")
    return np.asarray(image[:height], np.uint8)
