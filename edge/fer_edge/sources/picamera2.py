"""Raspberry Pi cameras through picamera2, which is imported only when such a camera is chosen.

The picture is the Y plane of a small YUV420 stream that the camera's own processor makes: grey for free.
"""

from __future__ import annotations

import atexit
import logging
import re
import threading
import time
from functools import partial
from typing import Any

import numpy as np

from fer_edge.config import SourceSettings
from fer_edge.errors import InputError, SourceLostError
from fer_edge.sources.base import DEFAULT_FPS, ClosingSource, NoFrame, glass_time
from fer_edge.sources.opening import Unopened
from fer_edge.types import Frame, UInt8Array

_log = logging.getLogger(__name__)
_URI = re.compile(r"picamera2(?::(\d{1,2}))?")
_DEFAULT_SIZE = (640, 480)
_BUFFERS = 4
"""One being filled, one ready, one being read, one to spare; each costs its size of the Pi's contiguous memory."""
_STOP_S = 1.5
"""After an unplug picamera2's ``stop`` may block for ever; one that works takes a tenth of that."""
_AF_MANUAL, _AF_CONTINUOUS = 0, 2
"""Values of libcamera's AfModeEnum, https://libcamera.org/api-html/namespacelibcamera_1_1controls.html"""


def open_picamera2(uri: str, settings: SourceSettings, name: str) -> Unopened | None:
    """The Raspberry Pi camera of ``picamera2``, or ``picamera2:1`` for the second one; None for any other URI.

    Raises InputError when the package is missing.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    return Unopened(partial(Picamera2Source, _import_picamera2(), int(match.group(1) or 0), settings, name))


class Picamera2Source(ClosingSource):
    """A libcamera camera by its number; ``read`` waits for the next frame, stamped with the time of its exposure.

    Each picture is a copy of the camera's Y plane (uint8 [H, W]), so that the camera has its buffer back at once.
    ``package`` is the module picamera2. Raises SourceLostError when the camera is not there or does not start.
    """

    live = True
    dropped = 0

    def __init__(self, package: Any, number: int, settings: SourceSettings, name: str) -> None:
        self.name = name
        self.fps = settings.fps or DEFAULT_FPS
        self._package = package
        self._camera = _open_camera(self._package, number)
        self._job: Any = None
        self._index = 0
        try:
            self._start(settings)
        except (RuntimeError, ValueError, OSError) as error:
            self.close()
            raise SourceLostError(f"picamera2 camera {number}: cannot be started: {error}") from None

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame, or NOT_YET."""
        if self._job is None:
            self._job = self._camera.capture_request(wait=False)
        try:
            request = self._camera.wait(self._job, timeout=timeout_s)
        except TimeoutError:
            return NoFrame.NOT_YET  # the same job is waited for again: a new one would leave its frame to nobody
        except RuntimeError as error:
            raise SourceLostError(f"{self.name}: the camera stopped giving frames: {error}") from None
        self._job = None
        try:
            width, height = self._stream["size"]
            with self._package.MappedArray(request, "lores", reshape=False) as mapped:
                gray = y_plane(mapped.array, width, height, self._stream["stride"]).copy()
            told_s = request.get_metadata().get("SensorTimestamp", 0) / 1e9
        finally:
            request.release()
        frame = Frame(self.name, self._index, glass_time(told_s, time.monotonic()), gray)
        self._index += 1
        return frame

    def close(self) -> None:
        """Stop the camera, or leave it to the end of the process when it does not stop."""
        camera, self._camera = self._camera, None
        if camera is None:
            return
        stopping = threading.Thread(target=camera.close, name=f"stop {self.name}", daemon=True)
        stopping.start()
        stopping.join(_STOP_S)
        if stopping.is_alive():
            atexit.unregister(camera.close)  # which would block the end of the process in the same way
            _log.warning("%s: the camera does not stop; left to the end of the process", self.name)

    def _start(self, settings: SourceSettings) -> None:
        size = settings.width or _DEFAULT_SIZE[0], settings.height or _DEFAULT_SIZE[1]
        wanted = camera_controls(settings)
        known = {key: value for key, value in wanted.items() if key in self._camera.camera_controls}
        for key in wanted.keys() - known.keys():
            _log.warning("%s: the camera does not take %s", self.name, key)
        stream = {"size": size, "format": "YUV420"}
        configuration = self._camera.create_video_configuration(
            main=dict(stream), lores=stream, buffer_count=_BUFFERS, queue=False, controls=known
        )
        self._camera.configure(configuration)
        self._stream = self._camera.camera_configuration()["lores"]
        self._camera.start()


def camera_controls(settings: SourceSettings) -> dict[str, Any]:
    """libcamera's controls for what the settings name; what they do not name stays automatic."""
    controls: dict[str, Any] = {}
    if settings.fps is not None:
        frame_us = round(1e6 / settings.fps)
        controls["FrameDurationLimits"] = (frame_us, frame_us)
    for key, value in (
        ("ExposureTime", settings.exposure_us),
        ("AnalogueGain", settings.gain),
        ("ExposureValue", settings.ev),
    ):
        if value is not None:
            controls[key] = value
    if settings.lens_position is not None:
        controls |= {"AfMode": _AF_MANUAL, "LensPosition": settings.lens_position}
    elif settings.autofocus is not None:
        controls["AfMode"] = _AF_CONTINUOUS if settings.autofocus else _AF_MANUAL
    return controls


def y_plane(buffer: UInt8Array, width: int, height: int, stride: int) -> UInt8Array:
    """The grey picture in a YUV420 buffer, uint8 [bytes]: a view [height, width] without the padding of its rows.

    The Y plane comes first, ``stride`` bytes a row. Raises ValueError for a buffer that cannot hold it.
    """
    if not 0 < width <= stride or buffer.ndim != 1 or buffer.size < height * stride:
        raise ValueError(f"{buffer.size} bytes hold no picture of {width}x{height} in rows of {stride} bytes")
    return np.asarray(buffer[: height * stride].reshape(height, stride)[:, :width])


def _import_picamera2() -> Any:
    try:
        import picamera2
    except ImportError as error:
        missing = error.name or "picamera2"
        raise InputError(
            f"picamera2: {missing} is not installed: sudo apt-get install python3-picamera2, and make the virtual"
            " environment with python3 -m venv --system-site-packages"
        ) from None
    except (ValueError, AttributeError, RuntimeError, OSError) as error:
        # numpy 2 breaks Bookworm's simplejpeg, which picamera2 imports: "numpy.dtype size changed".
        raise InputError(
            f"picamera2: it is installed, but does not load: {error}; see locks/ for the versions"
        ) from None
    return picamera2


def _open_camera(package: Any, number: int) -> Any:
    found = package.Picamera2.global_camera_info()
    if number >= len(found):
        raise SourceLostError(
            f"picamera2: there is no camera {number}, libcamera sees {len(found)}; check the ribbon cable"
            " (rpicam-hello --list-cameras)"
        )
    try:
        return package.Picamera2(number)
    except (RuntimeError, IndexError, OSError) as error:
        raise SourceLostError(
            f"picamera2: camera {number} cannot be opened: {error}; is another program using it?"
        ) from None
