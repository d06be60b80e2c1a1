"""A V4L2 camera as a source of grey frames."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from fer_edge.errors import InputError, SourceLostError
from fer_edge.protocols import ClosingSource, NoFrame
from fer_edge.settings.runtime import SourceSettings
from fer_edge.sources.base import DEFAULT_FPS, glass_time
from fer_edge.sources.opencv import OpenCVCamera, warn_of_other_controls
from fer_edge.sources.v4l2 import structs
from fer_edge.sources.v4l2.capture import Capture, Filled
from fer_edge.sources.v4l2.devices import LIBCAMERA_DRIVERS, device_number
from fer_edge.sources.v4l2.formats import (
    READABLE,
    DamagedPictureError,
    PixelFormat,
    choose_format,
    gray_picture,
    jpeg_reduction,
)
from fer_edge.types import Frame, UInt8Array

_log = logging.getLogger(__name__)
_DEFAULT_SIZE = (640, 480)
_MAX_DAMAGED_IN_A_ROW = 30
"""A second of a usual camera: a cable or a hub that damages as many pictures gives none that are worth waiting for."""


def open_v4l2(device: Path, settings: SourceSettings, name: str) -> V4L2Camera | OpenCVCamera:
    """Open the camera at ``device``, a device node or a link to one, which is resolved again at each call.

    Raises:
        SourceLostError: if it is not there, is not a camera or does not start.
        InputError: if it does not offer the format that the settings name.
    """
    node = device.resolve()
    called = str(device) if node == device else f"{device} ({node.name})"
    capture = Capture(node, called)
    try:
        if not capture.planes:
            return V4L2Camera(capture, called, settings, name)
    except BaseException as error:
        capture.close()
        # Some receivers, as for HDMI, can be read like this; a sensor cannot.
        if isinstance(error, SourceLostError | InputError) and capture.driver.startswith(LIBCAMERA_DRIVERS):
            hint = f'{error}; a Raspberry Pi camera ({capture.driver}) is the source "picamera2"'
            raise type(error)(hint) from None
        raise
    capture.close()
    return OpenCVCamera(device_number(node), settings, name)


class V4L2Camera(ClosingSource):
    """An open camera; ``read`` waits for the next frame, which has the driver's time on the monotonic clock.

    A damaged picture is dropped and counted in ``dropped``; ``_MAX_DAMAGED_IN_A_ROW`` of them are a lost camera. Closes
    ``capture``. ``called`` names it in errors. Raises as ``open_v4l2`` does.
    """

    live = True

    def __init__(self, capture: Capture, called: str, settings: SourceSettings, name: str) -> None:
        self.name, self.dropped = name, 0
        self._capture, self._called = capture, called
        width, height = settings.width or _DEFAULT_SIZE[0], settings.height or _DEFAULT_SIZE[1]
        self._format = _agree(capture, called, settings.fourcc, width, height)
        self._reduction = jpeg_reduction(self._format, width, height)
        rate = capture.rate(settings.fps)
        self.fps = rate or settings.fps or DEFAULT_FPS
        self._set_controls(settings, rate)
        capture.start()
        _log.info("%s: %s at %.4g frames per second", called, self._format, self.fps)
        self._damaged_in_a_row = 0
        self._index = 0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame, or NOT_YET, also for a damaged one. Raises SourceLostError."""
        filled = self._capture.next(timeout_s)
        if filled is None:
            return NoFrame.NOT_YET
        index, at = filled.index, filled.at
        gray = self._picture(filled)
        # An error's traceback keeps the variables of its functions: with the buffer among them, `close` could not unmap
        # it, and the camera would stay busy.
        del filled
        self._capture.give_back(index)
        if isinstance(gray, DamagedPictureError):
            self._drop(str(gray))
            return NoFrame.NOT_YET
        self._damaged_in_a_row = 0
        frame = Frame(self.name, self._index, glass_time(at, time.monotonic()), gray)
        self._index += 1
        return frame

    def close(self) -> None:
        """Close the device. Idempotent."""
        self._capture.close()

    def _picture(self, filled: Filled) -> UInt8Array | DamagedPictureError:
        if filled.damaged:
            return DamagedPictureError("a picture that its driver calls damaged")
        try:
            return gray_picture(filled.data, self._format, self._reduction)
        except DamagedPictureError as error:
            return DamagedPictureError(str(error))  # without the traceback, which holds the buffer

    def _drop(self, problem: str) -> None:
        """Count a damaged picture. Raises SourceLostError where there are too many in a row."""
        self.dropped += 1
        self._damaged_in_a_row += 1
        if self._damaged_in_a_row >= _MAX_DAMAGED_IN_A_ROW:
            raise SourceLostError(
                f"{self._called}: {self._damaged_in_a_row} damaged pictures in a row, the last {problem}; check its"
                " cable, its power and the USB hub, or choose another source.fourcc"
            )
        if str(self.dropped).strip("0") == "1":  # the 1st, 10th, 100th …: a bad cable must not fill the log
            _log.warning("%s: %s; %d damaged pictures dropped so far", self._called, problem, self.dropped)

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
            _log.warning("%s: the camera does not take [source] %s", self._called, key)
        warn_of_other_controls(self._called, settings)


def _agree(capture: Capture, called: str, wanted: str, width: int, height: int) -> PixelFormat:
    """Set the format to ask for, and return what the driver makes of it."""
    offered = list(dict.fromkeys(capture.formats()))
    if wanted != "auto" and wanted not in offered:
        has = ", ".join(offered) or "no format at all"
        raise InputError(f"{called}: source.fourcc: the camera does not offer {wanted}; it has {has}")
    name = choose_format(offered, capture.format().name, width, height) if wanted == "auto" else wanted
    if name is None:
        raise SourceLostError(
            f"{called}: gives pictures as {', '.join(offered) or 'nothing'}, none of which can be read;"
            " YUYV, NV12, GREY and MJPG can, among others"
        )
    agreed = capture.set_format(name, width, height)
    if agreed.name not in READABLE:
        raise SourceLostError(f"{called}: was asked for {name} and gives {agreed}, which cannot be read")
    return agreed
