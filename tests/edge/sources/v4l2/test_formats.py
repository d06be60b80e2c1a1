"""Grey pictures from a camera's buffer, in every format, and the handling of damaged bytes."""

from __future__ import annotations

import contextlib
import typing

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.settings.source import SourceSettings
from fer_edge.settings.values import PixelFormatName
from fer_edge.sources.v4l2.formats import (
    JPEGS,
    READABLE,
    DamagedPictureError,
    PixelFormat,
    choose_format,
    gray_picture,
    jpeg_reduction,
)
from fer_edge.types import UInt8Array
from support.processes.edge_command import face_picture

PLANAR = {"GREY": 1, "NV12": 1.5, "NV21": 1.5, "YU12": 1.5, "YV12": 1.5, "NV16": 2, "422P": 2, "411P": 1.5, "NV24": 3}
"""Bytes for each pixel, all planes together."""
PACKED = {"YUYV": 0, "YVYU": 0, "UYVY": 1, "VYUY": 1, "Y16": 1, "Y16-BE": 0}
"""Place of the brightness, or of the high byte of 16 bits, among the two bytes of a pixel."""
COLOURED = {
    "RGB3": "RGB",
    "BGR3": "BGR",
    "XR24": "BGRx",
    "AR24": "BGRx",
    "BGR4": "BGRx",
    "XB24": "RGBx",
    "AB24": "RGBx",
}
MOSAICS = {"RGGB": "RGGB", "BA81": "BGGR", "GBRG": "GBRG", "GRBG": "GRBG"}


class Noise:
    """Pixels, and the bytes around them, of one example."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> UInt8Array:
        return self._random.integers(0, 256, shape, dtype=np.uint8)


def with_padding(rows: UInt8Array, stride: int, noise: Noise) -> UInt8Array:
    """Return rows, uint8 [height, bytes], in a buffer with ``stride`` bytes per row; the padding is noise."""
    buffer = noise(rows.shape[0], stride)
    buffer[:, : rows.shape[1]] = rows
    return buffer.reshape(-1)


sides = st.integers(1, 40)
paddings = st.integers(0, 70)
seeds = st.integers(0, 2**32 - 1)


def test_all_formats_are_tested() -> None:
    assert {*PLANAR, *PACKED, *COLOURED, *MOSAICS, *JPEGS, "Y10", "Y12", "NV61", "NV42", "YUV9", "YVU9"} == {*READABLE}
    choices = set(typing.get_args(PixelFormatName))
    assert choices - {"auto"} <= set(READABLE)
    assert SourceSettings().fourcc == "auto"


@given(st.sampled_from(sorted(PLANAR)), sides, sides, paddings, seeds)
def test_planar_formats_use_the_first_plane(name: str, width: int, height: int, padding: int, seed: int) -> None:
    noise = Noise(seed)
    picture = noise(height, width)
    buffer = with_padding(picture, width + padding, noise)
    buffer = np.concatenate([buffer, noise(int((PLANAR[name] - 1) * buffer.size))])
    gray = gray_picture(buffer, PixelFormat(name, width, height, width + padding))
    assert np.array_equal(gray, picture)
    buffer[:] = 0  # the camera overwrites the buffer: the picture must be a copy
    assert np.array_equal(gray, picture)


@given(st.sampled_from(sorted(PACKED)), sides, sides, paddings, seeds)
def test_packed_formats_use_the_luma_byte(name: str, width: int, height: int, padding: int, seed: int) -> None:
    noise = Noise(seed)
    pixels = noise(height, width, 2)
    stride = 2 * width + padding
    gray = gray_picture(
        with_padding(pixels.reshape(height, -1), stride, noise), PixelFormat(name, width, height, stride)
    )
    assert np.array_equal(gray, pixels[:, :, PACKED[name]])


@given(st.sampled_from(["Y10", "Y12"]), sides, sides, paddings, seeds)
def test_16_bit_pixels_are_scaled(name: str, width: int, height: int, padding: int, seed: int) -> None:
    noise, bits = Noise(seed), int(name[1:])
    deep = np.random.default_rng(seed).integers(0, 2**bits, (height, width), dtype=np.uint16)
    stride = 2 * (width + padding)
    buffer = with_padding(deep.astype("<u2").view(np.uint8).reshape(height, -1), stride, noise)
    gray = gray_picture(buffer, PixelFormat(name, width, height, stride))
    assert np.abs(gray.astype(float) - np.minimum(255, deep / 2 ** (bits - 8))).max() <= 0.5


@given(st.sampled_from(sorted(COLOURED)), sides, sides, paddings, seeds)
def test_colour_pixels_are_converted_to_luma(name: str, width: int, height: int, padding: int, seed: int) -> None:
    noise, order = Noise(seed), COLOURED[name]
    pixels = noise(height, width, len(order))
    stride = len(order) * width + padding
    gray = gray_picture(
        with_padding(pixels.reshape(height, -1), stride, noise), PixelFormat(name, width, height, stride)
    )
    red, green, blue = (pixels[:, :, order.index(letter)].astype(float) for letter in "RGB")
    assert np.abs(gray - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 1  # ITU-R BT.601


@pytest.mark.parametrize("name", sorted(MOSAICS))
def test_bayer_patterns_become_luma(name: str) -> None:
    colour = {"R": 200, "G": 100, "B": 30}
    cell = np.array([colour[letter] for letter in MOSAICS[name]], np.uint8).reshape(2, 2)
    buffer = np.tile(cell, (24, 32)).reshape(-1)
    gray = gray_picture(buffer, PixelFormat(name, 64, 48, 64))
    expected = 0.299 * 200 + 0.587 * 100 + 0.114 * 30
    assert gray.shape == (48, 64)
    assert np.abs(gray[2:-2, 2:-2] - expected).max() <= 2


@given(st.sampled_from(sorted({*PLANAR, *PACKED, *COLOURED, *MOSAICS, "Y10"})), sides, sides, st.data())
def test_missing_bytes_and_short_rows_are_damage(name: str, width: int, height: int, data: st.DataObject) -> None:
    step = 1 if name in PLANAR or name in MOSAICS else len(COLOURED.get(name, "12"))
    stride = data.draw(st.integers(0, step * width + 10))
    size = data.draw(st.integers(0, height * stride))
    complete = stride >= step * width and size >= (height - 1) * stride + step * width
    buffer = np.zeros(size, np.uint8)
    if complete and name not in MOSAICS:
        assert gray_picture(buffer, PixelFormat(name, width, height, stride)).shape == (height, width)
    elif not complete:
        with pytest.raises(DamagedPictureError, match="bytes"):
            gray_picture(buffer, PixelFormat(name, width, height, stride))


# JPEG


def encoded(picture: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.imencode(".jpg", picture)[1], np.uint8)


def without_tables(data: UInt8Array) -> UInt8Array:
    """Return a JPEG without its Huffman tables, which USB cameras leave out."""
    whole, kept, position = data.tobytes(), bytearray(b"\xff\xd8"), 2
    while whole[position + 1] != 0xDA:
        length = 2 + int.from_bytes(whole[position + 2 : position + 4], "big")
        if whole[position + 1] != 0xC4:
            kept += whole[position : position + length]
        position += length
    return np.frombuffer(bytes(kept) + whole[position:], np.uint8)


VGA = PixelFormat("MJPG", 640, 480, 0)


def test_a_jpeg_is_decoded_to_grey_and_may_be_reduced() -> None:
    picture = face_picture()
    data = encoded(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    assert np.abs(gray_picture(data, VGA).astype(int) - picture).mean() < 3
    half = gray_picture(data, VGA, 2)
    assert half.shape == (240, 320)
    assert np.abs(half.astype(int) - cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA)).mean() < 3


def test_unusual_jpegs_from_cameras_are_accepted() -> None:
    data = encoded(face_picture())
    plain = gray_picture(data, VGA)
    assert np.array_equal(gray_picture(without_tables(data), VGA), plain)
    assert np.array_equal(gray_picture(np.concatenate([data, np.zeros(1000, np.uint8)]), VGA), plain)
    padded = np.zeros((1088, 1920), np.uint8)
    padded[::2] = 200
    assert gray_picture(encoded(padded), PixelFormat("MJPG", 1920, 1080, 0)).shape == (1080, 1920)
    assert gray_picture(encoded(padded), PixelFormat("MJPG", 1920, 1080, 0), 2).shape == (540, 960)


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("filled", [False, True])
def test_an_incomplete_jpeg_is_damage(name: str, share: float, filled: bool) -> None:
    data = encoded(face_picture()).copy()
    kept = int(share * data.size)
    data[kept:] = 0
    with pytest.raises(DamagedPictureError):
        gray_picture(data if filled else data[:kept], PixelFormat(name, 640, 480, 0))


def test_a_jpeg_of_another_size_is_damage() -> None:
    with pytest.raises(DamagedPictureError, match="640x480, expected 1280x720"):
        gray_picture(encoded(face_picture()), PixelFormat("MJPG", 1280, 720, 0))


def test_a_jpeg_that_claims_another_size_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(encoded(face_picture()).tobytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (65_000).to_bytes(2, "big") * 2  # 4 GB of grey pixels
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(DamagedPictureError, match="65000x65000, expected 640x480"):
        gray_picture(np.frombuffer(bytes(data), np.uint8), VGA)


@given(st.binary(max_size=200), st.integers(0, 20_000), st.integers(0, 255))
def test_any_bytes_give_a_picture_or_damage(junk: bytes, at: int, value: int) -> None:
    flipped = encoded(face_picture()).copy()
    flipped[at % flipped.size] = value
    for data in (flipped, np.frombuffer(b"\xff\xd8" + junk + b"\xff\xd9", np.uint8)):
        try:
            assert gray_picture(data, VGA).shape == (480, 640)
        except DamagedPictureError as error:
            assert "JPEG" in str(error)


def test_a_damaged_jpeg_leaves_standard_error_alone(capfd: pytest.CaptureFixture[str]) -> None:
    data = encoded(face_picture()).copy()
    data[data.size // 2 : data.size // 2 + 40] = 0x55
    for _ in range(3):
        with contextlib.suppress(DamagedPictureError):
            gray_picture(data, VGA)
    assert capfd.readouterr().err == ""


# Choice of format and reduction

USUAL = ["YUYV", "MJPG", "H264"]


@pytest.mark.parametrize(
    ("offered", "current", "size", "chosen"),
    [
        (USUAL, "YUYV", (640, 480), "YUYV"),
        (USUAL, "MJPG", (640, 480), "MJPG"),  # the driver's current format
        (USUAL, "YUYV", (1280, 720), "MJPG"),
        (["MJPG", "YUYV"], "H264", (320, 240), "MJPG"),
        (["H264", "YUYV"], "H264", (640, 480), "YUYV"),
        (["YUYV", "GREY"], "GREY", (1920, 1080), "GREY"),  # no compressed format
        (["H264", "HEVC"], "H264", (640, 480), None),
        ([], "", (640, 480), None),
    ],
)
def test_choose_format(offered: list[str], current: str, size: tuple[int, int], chosen: str | None) -> None:
    assert choose_format(offered, current, *size) == chosen


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(16, 4000), st.integers(16, 4000))
def test_a_jpeg_is_never_reduced_below_the_requested_size(w: int, h: int, asked_w: int, asked_h: int) -> None:
    part = jpeg_reduction(PixelFormat("MJPG", w, h, 0), asked_w, asked_h)
    assert part in (1, 2, 4, 8)
    if part > 1:
        assert w % part == h % part == 0 and w // part >= asked_w and h // part >= asked_h
    if part < 8:
        assert w % (2 * part) or h % (2 * part) or w // (2 * part) < asked_w or h // (2 * part) < asked_h


def test_common_reductions() -> None:
    sizes = {(1280, 960): 2, (1280, 720): 1, (1920, 1080): 2, (640, 480): 1, (3840, 2160): 4}
    for (width, height), part in sizes.items():
        assert jpeg_reduction(PixelFormat("MJPG", width, height, 0), 640, 480) == part, (width, height)
