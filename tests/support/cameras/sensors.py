"""The mode tables of Raspberry Pi's image sensors, from the kernel drivers that libcamera asks.

Each is from drivers/media/i2c of https://github.com/raspberrypi/linux: imx219.c, imx708.c (without HDR), ov5647.c,
imx477.c, imx296.c, ov9282.c. A mode's rate is pixel_rate / (line_length * (height + min. vertical blanking)), as
libcamera computes the shortest FrameDurationLimits; imx477.c states it. ``crop`` counts from the first active pixel, as
libcamera's ScalerCrop does. ``pixel_array`` is V4L2_SEL_TGT_NATIVE_SIZE, libcamera's PixelArraySize.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Mode = tuple[tuple[int, int], int, float, tuple[int, int, int, int]]
"""Size, bits a pixel, highest frames per second, crop."""


@dataclass(frozen=True)
class Sensor:
    """A sensor: its modes, and the size of its pixel array."""

    name: str
    pixel_array: tuple[int, int]
    modes: tuple[Mode, ...]
    mono: bool = False


def _imx219() -> Sensor:
    array, rate, line_length, blanking = (3280, 2464), 182_400_000, 3448, 32
    modes = []
    for bits in (10, 8):
        for width, height in ((640, 480), (1640, 1232), (1920, 1080), (3280, 2464)):
            binned = min(array[0] // width, array[1] // height, 2)
            seen = width * binned, height * binned
            crop = ((array[0] - seen[0]) // 2, (array[1] - seen[1]) // 2, *seen)
            modes.append(((width, height), bits, rate / (line_length * (height + blanking)), crop))
    return Sensor("imx219", (3296, 2480), tuple(modes))


def _imx708() -> Sensor:
    whole = (0, 0, 4608, 2592)
    return Sensor(
        "imx708",
        (4640, 2658),
        (
            ((1536, 864), 10, 566_400_000 / (0x1460 * (864 + 40)), (768, 432, 3072, 1728)),
            ((2304, 1296), 10, 585_600_000 / (0x1E90 * (1296 + 40)), whole),
            ((4608, 2592), 10, 595_200_000 / (0x3D20 * (2592 + 58)), whole),
        ),
    )


def _ov5647() -> Sensor:
    whole, blanking = (0, 0, 2592, 1944), 24
    return Sensor(
        "ov5647",
        (2624, 1956),
        (
            ((640, 480), 10, 55_000_000 / (1852 * (480 + blanking)), (16, 0, 2560, 1920)),
            ((1296, 972), 10, 81_666_700 / (1896 * (972 + blanking)), whole),
            ((1920, 1080), 10, 81_666_700 / (2416 * (1080 + blanking)), (348, 434, 1928, 1080)),
            ((2592, 1944), 10, 87_500_000 / (2844 * (1944 + blanking)), whole),
        ),
    )


def _imx477() -> Sensor:
    whole = (0, 0, 4056, 3040)
    return Sensor(
        "imx477",
        (4072, 3176),
        (
            ((1332, 990), 10, 120.0, (696, 528, 2664, 1980)),
            ((2028, 1080), 12, 50.0, (0, 440, 4056, 2160)),
            ((2028, 1520), 12, 40.0, whole),
            ((4056, 3040), 12, 10.0, whole),
        ),
    )


def _imx296() -> Sensor:
    # The driver counts lines of 1100 clocks of 74.25 MHz as pixels of 118.8 MHz.
    rate = 118_800_000 / (1100 * 118_800_000 / 74_250_000 * (1088 + 30))
    return Sensor("imx296", (1456, 1088), (((1456, 1088), 10, rate, (0, 0, 1456, 1088)),))


def _ov9281() -> Sensor:
    modes: list[Mode] = []
    for bits, rate in ((10, 160_000_000), (8, 200_000_000)):
        for width, height, line_length, blanking in (
            (640, 400, 1456, 22),
            (1280, 720, 1456, 41),
            (1280, 800, 1456, 110),
        ):
            fps = rate / (line_length * (height + blanking))
            modes.append(((width, height), bits, fps, (0, 0, 1280, 720 if height == 720 else 800)))
    return Sensor("ov9281", (1296, 816), tuple(modes), mono=True)


SENSORS: dict[str, Sensor] = {
    sensor.name: sensor for sensor in (_imx219(), _imx708(), _ov5647(), _imx477(), _imx296(), _ov9281())
}


def picamera2_choice(modes: Sequence[Mode], size: tuple[int, int], bits: int) -> Mode:
    """The mode that picamera2 takes for an output size and depth: ``score_mode`` of its ``_make_libcamera_config``."""

    def of(wanted: float, actual: float) -> float:
        score = wanted - actual
        return -score / 4 if score < 0 else score * 2

    def score(mode: Mode) -> float:
        width, height = mode[0]
        shape = 1500 * of(size[0] / size[1], width / height)
        return of(size[0], width) + of(size[1], height) + shape + 500 * abs(bits - mode[1])

    return min(modes, key=score)
