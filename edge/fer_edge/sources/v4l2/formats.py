"""Convert the bytes of a V4L2 buffer to a grey or colour picture: copy a plane, convert once, or decode a JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fer_edge.images.colour import yuv420_to_bgr
from fer_edge.images.files import jpeg_is_whole
from fer_edge.images.headers import image_size
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import UInt8Array

JPEGS = ("MJPG", "JPEG")
_LUMA = {
    # name: bytes from one pixel to the next, index of the luma byte (the high byte of 16 bits)
    **dict.fromkeys(("GREY", "NV12", "NV21", "NV16", "NV61", "NV24", "NV42"), (1, 0)),
    **dict.fromkeys(("YU12", "YV12", "422P", "411P", "YUV9", "YVU9"), (1, 0)),
    **dict.fromkeys(("YUYV", "YVYU", "Y16-BE"), (2, 0)),
    **dict.fromkeys(("UYVY", "VYUY", "Y16"), (2, 1)),
}
"""Formats that contain the grey picture: planar with luma first, or one byte of each pixel."""
_CONVERTED = {
    # name: bytes for each pixel, OpenCV's conversions to grey and to BGR
    "RGB3": (3, cv2.COLOR_RGB2GRAY, cv2.COLOR_RGB2BGR),
    "BGR3": (3, cv2.COLOR_BGR2GRAY, None),
    **dict.fromkeys(("XR24", "AR24", "BGR4"), (4, cv2.COLOR_BGRA2GRAY, cv2.COLOR_BGRA2BGR)),
    **dict.fromkeys(("XB24", "AB24"), (4, cv2.COLOR_RGBA2GRAY, cv2.COLOR_RGBA2BGR)),
    # OpenCV names a Bayer pattern by the second and third pixel of its second row.
    "RGGB": (1, cv2.COLOR_BayerBG2GRAY, cv2.COLOR_BayerBG2BGR),
    "BA81": (1, cv2.COLOR_BayerRG2GRAY, cv2.COLOR_BayerRG2BGR),
    "GBRG": (1, cv2.COLOR_BayerGR2GRAY, cv2.COLOR_BayerGR2BGR),
    "GRBG": (1, cv2.COLOR_BayerGB2GRAY, cv2.COLOR_BayerGB2BGR),
}
_DEEP = {"Y10": 1 / 4, "Y12": 1 / 16}
"""Formats of 16 bits per pixel that use the low bits, and the factor that scales them to 8 bits."""
_YUV422 = {"YUYV": cv2.COLOR_YUV2BGR_YUY2, "YVYU": cv2.COLOR_YUV2BGR_YVYU, "UYVY": cv2.COLOR_YUV2BGR_UYVY}
_YUV420 = {
    "NV12": cv2.COLOR_YUV2BGR_NV12,
    "NV21": cv2.COLOR_YUV2BGR_NV21,
    "YU12": cv2.COLOR_YUV2BGR_I420,
    "YV12": cv2.COLOR_YUV2BGR_YV12,
}
_REDUCED = {  # with IMREAD_COLOR, which is one bit, they give colour
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_PADDED_ROWS = 15
"""JPEG blocks have 16 rows; some cameras report the rows of whole blocks, such as 1088 for 1080."""

READABLE = (*_LUMA, *_CONVERTED, *_DEEP, *JPEGS)
"""The supported formats, by the names from ``structs.fourcc_name``."""


class DamagedPictureError(ValueError):
    """The bytes of a picture do not match its format; the next picture may be good."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The negotiated format: its name, width and height in pixels, and bytes from one row to the next."""

    name: str
    width: int
    height: int
    stride: int

    def __str__(self) -> str:
        return f"{self.name} {self.width}x{self.height}"


def choose_format(offered: Sequence[str], current: str, width: int, height: int) -> str | None:
    """Return the format to request from a camera that offers these, for pictures of this size; None if none is
    supported.

    Above 640x480 a compressed format is preferred: uncompressed pictures exceed the bandwidth of USB 2 at full rate.
    Otherwise the driver's current format is used, or the first supported one that it offers.
    """
    if width * height > 640 * 480:
        compressed = next((name for name in offered if name in JPEGS), None)
        if compressed is not None:
            return compressed
    return next((name for name in (current, *offered) if name in READABLE), None)


def jpeg_reduction(format: PixelFormat, width: int, height: int) -> int:
    """Return the largest divisor (8, 4, 2 or 1) that leaves pictures at least as large as requested.

    Decoding at reduced size is faster. Only divisors of both sides are used, so that no row is rounded.
    """
    fits = (part for part in sorted(_REDUCED, reverse=True) if format.width % part == format.height % part == 0)
    return next((part for part in fits if format.width // part >= width and format.height // part >= height), 1)


def gray_picture(data: UInt8Array, format: PixelFormat, reduction: int = 1) -> UInt8Array:
    """Convert a buffer to a grey picture, uint8 [height, width], in its own memory.

    Args:
        data: The buffer, uint8 [bytes].
        format: Its format, which must be in ``READABLE``.
        reduction: Divides both sides of a JPEG.

    Raises:
        DamagedPictureError: if bytes are missing, or a JPEG is incomplete, cannot be decoded or has another size.
    """
    if format.name in JPEGS:
        return _decoded(data, format, reduction)
    height, width, stride = format.height, format.width, format.stride
    if format.name in _LUMA:
        step, place = _LUMA[format.name]
        pixels = _pixels(data, (height, width, step), stride)
        return pixels[:, :, 0].copy() if step == 1 else np.asarray(cv2.extractChannel(pixels, place), np.uint8)
    if format.name in _DEEP:
        wide = _pixels(data, (height, width, 2), stride).view("<u2")[:, :, 0]
        return np.asarray(cv2.convertScaleAbs(wide, alpha=_DEEP[format.name]), np.uint8)
    step, conversion, _ = _CONVERTED[format.name]
    return _converted(_pixels(data, (height, width, step), stride), conversion)


def colour_picture(data: UInt8Array, format: PixelFormat, reduction: int = 1) -> UInt8Array | None:
    """Convert a buffer to a BGR picture, uint8 [height, width, 3], in its own memory; None if the format has no colour.

    Planar formats other than 4:2:0 are not converted either. Arguments and errors are those of ``gray_picture``.
    """
    height, width, stride = format.height, format.width, format.stride
    if format.name in JPEGS:
        image = _decoded(data, format, reduction, colour=True)
        return image if image.ndim == 3 else None
    if format.name in _YUV420:
        return yuv420_to_bgr(data, width, height, stride, _YUV420[format.name])
    if format.name in _YUV422 and width % 2 == 0:  # two pixels share their colour
        return _converted(_pixels(data, (height, width, 2), stride), _YUV422[format.name])
    if format.name not in _CONVERTED:
        return None
    step, _, conversion = _CONVERTED[format.name]
    pixels = _pixels(data, (height, width, step), stride)
    return pixels.copy() if conversion is None else _converted(pixels, conversion)


def _pixels(data: UInt8Array, shape: tuple[int, int, int], stride: int) -> UInt8Array:
    """Return a view uint8 [height, width, bytes per pixel] of the rows in ``data``, without row padding."""
    height, width, step = shape
    if stride < width * step:
        raise DamagedPictureError(f"rows of {stride} bytes cannot hold {width} pixels of {step} bytes")
    if data.size < (height - 1) * stride + width * step:
        raise DamagedPictureError(f"{data.size} bytes, expected {height} rows of {stride} bytes")
    return np.ndarray(shape, np.uint8, data, strides=(stride, step, 1))


def _converted(pixels: UInt8Array, conversion: int) -> UInt8Array:
    return np.asarray(cv2.cvtColor(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, conversion), np.uint8)


def _decoded(data: UInt8Array, format: PixelFormat, reduction: int, *, colour: bool = False) -> UInt8Array:
    encoded = data.tobytes()
    if not encoded.startswith(b"\xff\xd8") or not jpeg_is_whole(encoded):
        raise DamagedPictureError("an incomplete JPEG")
    width, height = image_size(encoded) or (0, 0)
    if width != format.width or not format.height <= height <= format.height + _PADDED_ROWS:  # before it takes memory
        raise DamagedPictureError(f"a JPEG of {width}x{height}, expected {format.width}x{format.height}")
    flag = _REDUCED[reduction] | (cv2.IMREAD_COLOR if colour else 0)
    try:
        with hidden_stderr():  # libjpeg writes to stderr for each damaged picture
            # A camera does not rotate its pictures; applying an orientation tag would change the size.
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise DamagedPictureError(f"a JPEG that cannot be decoded: {error.err}") from None
    if image is None:
        raise DamagedPictureError("a JPEG that cannot be decoded")
    return np.asarray(image[: format.height // reduction], np.uint8)
