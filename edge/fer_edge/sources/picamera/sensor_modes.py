"""Sensor modes of Raspberry Pi cameras, and the choice between them.

A sensor has a few picture sizes. Some read the whole sensor, with or without binning; others crop it and see less. By
default picamera2 chooses by the picture size: at 640x480 an imx219 then sees 39 % of its field's width.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)

DEFAULT_WIDTH = 640
"""Width in pixels if no size is set; the height follows from the sensor's aspect ratio."""
_DEFAULT_SHAPE = (4, 3)

_MIN_FIELD = 0.95
"""Share of the widest and of the highest mode's field that a mode must see to count as full. Binned modes may lose a
few columns (the ov5647's 640x480 sees 98.8 %); the largest cropped modes of Raspberry Pi cameras see 90 %."""
_RATE_TOLERANCE = 0.995
"""A mode with 29.97 frames a second is sufficient for 30."""


@dataclass(frozen=True, slots=True)
class SensorMode:
    """One mode: picture size in pixels, bits per pixel, maximum frame rate, and the part of the sensor that it reads.

    ``crop`` is x, y, width and height in sensor pixels before binning.
    """

    size: tuple[int, int]
    bit_depth: int
    max_fps: float
    crop: tuple[int, int, int, int]

    def __str__(self) -> str:
        return f"{self.size[0]}x{self.size[1]}"

    @property
    def area(self) -> int:
        """Number of pixels of a picture."""
        return self.size[0] * self.size[1]

    def as_configuration(self) -> dict[str, Any]:
        """Return the ``sensor`` part of a picamera2 configuration that selects this mode."""
        return {"output_size": self.size, "bit_depth": self.bit_depth}

    def holds(self, size: tuple[int, int]) -> bool:
        """Return whether a picture of ``size`` needs no upscaling."""
        return self.size[0] >= size[0] and self.size[1] >= size[1]

    def reaches(self, fps: float | None) -> bool:
        """Return whether the mode supports ``fps`` frames a second; true if ``fps`` is None."""
        return fps is None or self.max_fps >= fps * _RATE_TOLERANCE


def full_field(modes: Sequence[SensorMode]) -> list[SensorMode]:
    """Return those of ``modes`` that see (nearly) the whole field of the widest and the highest.

    The modes are compared with each other, not with libcamera's PixelArraySize: for some sensors that includes rows
    that no mode reads (imx477: 3176, of which 3040 are read).
    """
    width = max((mode.crop[2] for mode in modes), default=0)
    height = max((mode.crop[3] for mode in modes), default=0)
    return [mode for mode in modes if mode.crop[2] >= _MIN_FIELD * width and mode.crop[3] >= _MIN_FIELD * height]


def choose_mode(modes: Sequence[SensorMode], size: tuple[int, int], fps: float | None) -> SensorMode:
    """Return the smallest of ``modes`` that supports ``fps`` and needs no upscaling for pictures of ``size``.

    If there is none, the rate has priority: the largest mode that supports ``fps``, or else the fastest mode. Of equal
    sizes the mode with more bits is chosen, because it has less noise in the dark.

    Raises:
        ValueError: if ``modes`` is empty.
    """
    fast = [mode for mode in modes if mode.reaches(fps)]
    if not fast:
        return max(modes, key=lambda mode: (mode.max_fps, mode.holds(size), -mode.area, mode.bit_depth))
    good = [mode for mode in fast if mode.holds(size)]
    if not good:
        return max(fast, key=lambda mode: (mode.area, mode.bit_depth))
    return min(good, key=lambda mode: (mode.area, -mode.bit_depth))


def picture_size(width: int | None, height: int | None, modes: Sequence[SensorMode]) -> tuple[int, int]:
    """Return the picture's width and height in pixels, both even; missing values follow from the widest mode's shape.

    A picture with another aspect ratio than the sensor's would be cropped, which loses field of view.
    """
    widest = max(modes, key=lambda mode: mode.crop[2] * mode.crop[3], default=None)
    across, down = _DEFAULT_SHAPE if widest is None else widest.crop[2:]
    if width is None and height is not None:
        width = round(height * across / down / 2) * 2
    width = DEFAULT_WIDTH if width is None else width
    height = round(width * down / across / 2) * 2 if height is None else height
    return max(2, width - width % 2), max(2, height - height % 2)


def _mode_sizes(camera: Any) -> list[tuple[tuple[int, int], int]]:
    """Return size and bits per pixel of each mode of ``camera``, a Picamera2, without configuring it."""
    import libcamera

    formats = camera.camera.generate_configuration([libcamera.StreamRole.Raw]).at(0).formats
    listed = []
    for pixel_format in formats.pixel_formats:
        bits = re.search(r"\d+", str(pixel_format))  # SRGGB10_CSI2P, R8
        if bits is not None:
            listed += [((size.width, size.height), int(bits.group())) for size in formats.sizes(pixel_format)]
    return listed


def read_modes(camera: Any) -> list[SensorMode]:
    """Read the modes of ``camera``, a Picamera2 that is not running; reconfigures it.

    The field of a mode is known only after it is configured. Picamera2's own ``sensor_modes`` allocates four raw
    pictures for each mode to do that, 74 MB of contiguous memory for an imx477, which small Pis do not have; this
    function allocates one small picture.
    """
    modes = []
    for size, bit_depth in _mode_sizes(camera):
        small = {"size": (640, 480), "format": "YUV420"}
        sensor = {"output_size": size, "bit_depth": bit_depth}
        try:
            camera.configure(
                camera.create_video_configuration(main=small, raw=None, sensor=sensor, buffer_count=1, queue=False)
            )
            limits = camera.camera_controls
            shortest_us, crop = limits["FrameDurationLimits"][0], limits["ScalerCrop"][1]
            modes.append(SensorMode(size, bit_depth, 1e6 / shortest_us, tuple(crop)))
        except (RuntimeError, ValueError, OSError, LookupError, TypeError, ZeroDivisionError) as error:
            _log.warning("sensor mode %dx%d of %d bits cannot be read: %s", *size, bit_depth, error)
    return modes
