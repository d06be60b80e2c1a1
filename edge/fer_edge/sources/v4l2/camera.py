"""A V4L2 camera as a frame source."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from fer_edge.errors import InputError, SourceLostError
from fer_edge.protocols import NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import DEFAULT_FPS, NumberedSource, capture_time
from fer_edge.sources.opencv_camera import OpenCVCamera, warn_about_picamera2_settings
from fer_edge.sources.v4l2 import structs
from fer_edge.sources.v4l2.capture import Capture
from fer_edge.sources.v4l2.devices import LIBCAMERA_DRIVERS, device_number
from fer_edge.sources.v4l2.formats import (
    READABLE,
    DamagedPictureError,
    PixelFormat,
    choose_format,
    colour_picture,
    gray_picture,
    jpeg_reduction,
)
from fer_edge.types import Frame

_log = logging.getLogger(__name__)
_DEFAULT_SIZE = (640, 480)
_MAX_DAMAGED_IN_A_ROW = 30
"""About one second: a cable or hub that damages this many pictures delivers none that are usable."""


def open_v4l2(device: Path, settings: SourceSettings, name: str) -> V4L2Camera | OpenCVCamera:
    """Open the camera at ``device``, a device node or a link to one; a link is resolved again at each call.

    Raises:
        SourceLostError: if the device is missing, is not a camera or does not start.
        InputError: if it does not offer the format in the settings.
    """
    node = device.resolve()
    display_name = str(device) if node == device else f"{device} ({node.name})"
    capture = Capture(node, display_name)
    try:
        if not capture.planes:
            return V4L2Camera(capture, display_name, settings, name)
    except BaseException as error:
        capture.close()
        # Some receivers, such as HDMI adapters, can be read this way; a sensor cannot.
        if isinstance(error, SourceLostError | InputError) and capture.driver.startswith(LIBCAMERA_DRIVERS):
            hint = f'{error}; a Raspberry Pi camera ({capture.driver}) is the source "picamera2"'
            raise type(error)(hint) from None
        raise
    capture.close()
    return OpenCVCamera(device_number(node), settings, name)


class V4L2Camera(NumberedSource):
    """An open V4L2 camera. ``read`` waits for the next frame, which has the driver's monotonic timestamp.

    Damaged pictures are dropped and counted in ``dropped``; after ``_MAX_DAMAGED_IN_A_ROW`` of them the camera is lost.
    ``close`` closes ``capture`` too. ``display_name`` identifies the camera in errors.

    Raises:
        SourceLostError: if the camera does not start, or offers no readable format.
        InputError: if it does not offer the format in the settings.
    """

    live = True

    def __init__(self, capture: Capture, display_name: str, settings: SourceSettings, name: str) -> None:
        self.name = name
        self._capture, self._display_name = capture, display_name
        width, height = settings.width or _DEFAULT_SIZE[0], settings.height or _DEFAULT_SIZE[1]
        self._format = _negotiate(capture, display_name, settings.fourcc, width, height)
        self._reduction = jpeg_reduction(self._format, width, height)
        rate = capture.rate(settings.fps)
        self.fps = rate or settings.fps or DEFAULT_FPS
        self._set_controls(settings, rate)
        capture.start()
        _log.info("%s: %s at %.4g frames per second", display_name, self._format, self.fps)
        self._damaged_in_a_row = 0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame, or NOT_YET, which is also returned for a damaged picture.

        Raises:
            SourceLostError: if the camera is gone, or too many pictures in a row are damaged.
        """
        filled = self._capture.next(timeout_s)
        if filled is None:
            return NoFrame.NOT_YET
        index, at = filled.index, filled.at
        gray, bgr, problem = None, None, "a picture that the driver marked as damaged"
        if not filled.damaged:
            try:
                gray = gray_picture(filled.data, self._format, self._reduction)
                bgr = colour_picture(filled.data, self._format, self._reduction) if self.keep_colour else None
            except DamagedPictureError as error:
                problem = str(error)
        # A traceback keeps the local variables of its functions. With the buffer among them, ``close`` could not unmap
        # it, and the camera would stay busy.
        del filled
        self._capture.give_back(index)
        if gray is None:
            self._drop(problem)
            return NoFrame.NOT_YET
        self._damaged_in_a_row = 0
        return self._frame(capture_time(at, time.monotonic()), gray, bgr)

    def close(self) -> None:
        """Close the device. Idempotent."""
        self._capture.close()

    def _drop(self, problem: str) -> None:
        """Count a damaged picture. Raises SourceLostError if there are too many in a row."""
        self.dropped += 1
        self._damaged_in_a_row += 1
        if self._damaged_in_a_row >= _MAX_DAMAGED_IN_A_ROW:
            raise SourceLostError(
                f"{self._display_name}: {self._damaged_in_a_row} damaged pictures in a row, the last {problem};"
                " check its cable, its power and the USB hub, or choose another source.fourcc"
            )
        if str(self.dropped).strip("0") == "1":  # 1, 10, 100, …: a bad cable must not fill the log
            _log.warning("%s: %s; %d damaged pictures dropped so far", self._display_name, problem, self.dropped)

    def _set_controls(self, settings: SourceSettings, rate: float | None) -> None:
        taken = {"fps": settings.fps is None or rate is not None}
        if settings.exposure_us is not None:
            steps = max(1, round(settings.exposure_us / 100))
            manual = self._capture.control(structs.EXPOSURE_AUTO, structs.EXPOSURE_MANUAL)
            taken["exposure_us"] = manual and self._capture.control(structs.EXPOSURE_ABSOLUTE, steps)
        if settings.gain is not None:
            taken["gain"] = self._capture.control(structs.GAIN, round(settings.gain))
        if settings.autofocus is not None:
            taken["autofocus"] = self._capture.control(structs.FOCUS_AUTO, int(settings.autofocus))
        for key in (key for key, good in taken.items() if not good):
            _log.warning("%s: the camera does not support [source] %s", self._display_name, key)
        warn_about_picamera2_settings(self._display_name, settings)


def _negotiate(capture: Capture, display_name: str, wanted: str, width: int, height: int) -> PixelFormat:
    """Request a format, and return the format that the driver selected."""
    offered = list(dict.fromkeys(capture.formats()))
    if wanted != "auto" and wanted not in offered:
        has = ", ".join(offered) or "no formats"
        raise InputError(f"{display_name}: source.fourcc: the camera does not offer {wanted}; it has {has}")
    name = choose_format(offered, capture.format().name, width, height) if wanted == "auto" else wanted
    if name is None:
        raise SourceLostError(
            f"{display_name}: offers only unsupported formats ({', '.join(offered) or 'none'});"
            " supported are YUYV, NV12, GREY and MJPG, among others"
        )
    agreed = capture.set_format(name, width, height)
    if agreed.name not in READABLE:
        raise SourceLostError(f"{display_name}: selected {agreed} instead of {name}, which is not supported")
    return agreed
