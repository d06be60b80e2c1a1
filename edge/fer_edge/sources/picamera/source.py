"""Raspberry Pi cameras through picamera2, which is imported only if such a camera is selected.

Pictures are the Y plane of a small YUV420 stream from the camera's image processor, so grey needs no conversion.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import cv2
import numpy as np

from fer_edge.errors import FerEdgeError, InputError, SourceLostError
from fer_edge.images.colour import yuv420_to_bgr
from fer_edge.protocols import NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import DEFAULT_FPS, NumberedSource, capture_time
from fer_edge.sources.opening import Unopened
from fer_edge.sources.picamera.sensor_modes import (
    SensorMode,
    choose_mode,
    full_field,
    picture_size,
    read_modes,
)
from fer_edge.system.driver_threads import DriverThread
from fer_edge.types import Frame, UInt8Array

_log = logging.getLogger(__name__)
_URI = re.compile(r"picamera2(?::(?:(?P<number>\d{1,2})|(?P<id>(?!\d+$).+)))?")
_MIN_VERSION = (0, 3, 17)
"""The first version whose ``wait`` has a timeout. Bookworm's first images had 0.3.12."""
_UPGRADE = "sudo apt-get update && sudo apt-get install --only-upgrade python3-picamera2"
_CAMERA_FPS = 30.0
"""Frames per second if the settings have none: picamera2's default for video."""
_BUFFERS = 4
"""One being filled, one ready, one being read, one spare. Each takes its size in the Pi's contiguous memory."""
_STOP_S = 1.5
"""After an unplug picamera2's ``stop`` may block indefinitely; normally it takes a tenth of this time."""
_AF_MANUAL, _AF_CONTINUOUS = 0, 2
"""Values of libcamera's AfModeEnum, https://libcamera.org/api-html/namespacelibcamera_1_1controls.html"""

_in_use: set[str | int] = set()
"""Cameras that this process has open. Picamera2 keeps one object per camera: a second one for the same camera receives
the first one's frames, even if it fails to open."""
_in_use_lock = threading.Lock()
_modes_of: dict[str | int, list[SensorMode]] = {}
"""Modes of each camera opened so far; they do not change, and reading them is slow."""


def open_picamera2(uri: str, settings: SourceSettings, name: str) -> Unopened | None:
    """Return the Raspberry Pi camera of ``picamera2``, ``picamera2:1`` or ``picamera2:ID``; None for any other URI.

    A number or id is looked up at each opening.

    Raises:
        InputError: if the package is missing, does not load or is too old.
    """
    which = camera_of(uri)
    return None if which is None else Unopened(partial(Picamera2Source, import_picamera2(), which, settings, name))


def camera_of(uri: str) -> int | str | None:
    """Return the number or the libcamera id of the camera that ``uri`` names; None if it is not a picamera2 source.

    >>> camera_of("picamera2"), camera_of("picamera2:1"), camera_of("0")
    (0, 1, None)
    >>> camera_of("picamera2:/base/soc/i2c0mux/i2c@1/imx219@10")
    '/base/soc/i2c0mux/i2c@1/imx219@10'
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    return match["id"] or int(match["number"] or 0)


class Picamera2Source(NumberedSource):
    """A libcamera camera, selected by its number or id.

    ``read`` waits for the next frame, which has the time of its exposure. Each picture is a copy of the camera's Y
    plane (uint8 [H, W]), so that the buffer is returned to the camera at once. ``package`` is the module picamera2.
    ``fps`` is the actual rate, which may be below the requested one.

    Raises:
        SourceLostError: if the camera is not present or does not start.
        InputError: if it does not have the sensor mode of the settings.
    """

    live = True

    def __init__(self, package: Any, which: int | str, settings: SourceSettings, name: str) -> None:
        self.name = name
        self.fps = settings.fps or DEFAULT_FPS
        self._package = package
        self._camera, self._key, self._display_name = _open_camera(package, which)
        self.mode: SensorMode | None = None
        self._job: Any = None
        self._stopping: DriverThread | None = None
        try:
            self._start(settings)
        except BaseException as error:
            self.close()
            if isinstance(error, FerEdgeError) or not isinstance(error, RuntimeError | ValueError | OSError):
                raise
            raise SourceLostError(f"picamera2: {self._display_name} cannot be started: {error}") from None

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame, or NOT_YET.

        Raises:
            SourceLostError: if the camera stops.
        """
        if self._job is None:
            self._job = self._camera.capture_request(wait=False)
        try:
            request = self._camera.wait(self._job, timeout=timeout_s)
        except TimeoutError:
            return NoFrame.NOT_YET  # the job stays pending: with a new one, its frame would be lost
        except RuntimeError as error:
            raise SourceLostError(f"{self.name}: the camera stopped sending frames: {error}") from None
        self._job = None
        try:
            width, height = self._stream["size"]
            with self._package.MappedArray(request, "lores", reshape=False) as mapped:
                stride = self._stream["stride"]
                gray = y_plane(mapped.array, width, height, stride).copy()
                bgr = None
                if self.keep_colour:
                    bgr = yuv420_to_bgr(mapped.array, width, height, stride, cv2.COLOR_YUV2BGR_I420)
            reported_s = request.get_metadata().get("SensorTimestamp", 0) / 1e9
        finally:
            request.release()
        return self._frame(capture_time(reported_s, time.monotonic()), gray, bgr)

    def close(self) -> None:
        """Stop the camera. If it does not stop in time, it is abandoned until the process ends. Idempotent."""
        camera, self._camera = self._camera, None
        if camera is None:
            return
        self._stopping = DriverThread(target=partial(self._stop, camera), name=f"stop {self.name}")
        self._stopping.start()
        self._stopping.join(_STOP_S)
        if self._stopping.is_alive():
            atexit.unregister(camera.close)  # which would block the end of the process in the same way
            _log.warning("%s: the camera does not stop; left to the end of the process", self.name)

    @property
    def modes(self) -> Sequence[SensorMode]:
        """All modes of the sensor; none if they were not read, because libcamera chooses."""
        return () if self.mode is None else tuple(_modes_of[self._key])

    @property
    def busy(self) -> bool:
        """Whether the camera has not stopped yet."""
        return self._stopping is not None and self._stopping.is_alive()

    def _stop(self, camera: Any) -> None:
        try:
            camera.close()
        except Exception as error:  # noqa: BLE001 - a driver may raise anything, and the source is closed anyway
            _log.warning("%s: error while closing the camera: %s: %s", self.name, type(error).__name__, error)
        with _in_use_lock:
            _in_use.discard(self._key)

    def _start(self, settings: SourceSettings) -> None:
        modes = self._modes(settings.sensor_mode)
        size = picture_size(settings.width, settings.height, modes)
        self.mode = mode = choose_mode(modes, size, settings.fps) if modes else None
        if mode is not None:
            self._warn_about(mode, size, settings)
        wanted = camera_controls(settings)
        known = {key: value for key, value in wanted.items() if key in self._camera.camera_controls}
        for key in wanted.keys() - known.keys():
            _log.warning("%s: the camera does not support %s", self.name, key)
        if "FrameDurationLimits" in self._camera.camera_controls:
            known.setdefault("FrameDurationLimits", _frame_durations(_CAMERA_FPS))
        stream = {"size": size, "format": "YUV420"}
        configuration = self._camera.create_video_configuration(
            main=dict(stream),
            lores=stream,
            # By default picamera2 adds a raw stream, which takes four pictures of the whole sensor from the Pi's
            # contiguous memory, and whose size (the picture's) selects the sensor mode.
            raw=None,
            sensor={} if mode is None else mode.as_configuration(),
            buffer_count=_BUFFERS,
            queue=False,
            controls=known,
        )
        self._camera.configure(configuration)
        self._stream = self._camera.camera_configuration()["lores"]
        if "FrameDurationLimits" in known:
            self.fps = frame_rate(known["FrameDurationLimits"], self._camera.camera_controls["FrameDurationLimits"])
        self._camera.start()
        _log.info(
            "%s: %s, sensor mode %s, pictures of %dx%d, %.4g frames per second",
            *(self.name, self._display_name, mode or "as libcamera chose it", *self._stream["size"], self.fps),
        )

    def _modes(self, wanted: str) -> list[SensorMode]:
        """Return the modes to choose from, or none if libcamera is to choose. Raises InputError."""
        # USB cameras, whose sensors libcamera does not configure, lack this property.
        if wanted == "auto" or "ColorFilterArrangement" not in self._camera.camera_properties:
            return []
        if self._key not in _modes_of:
            modes = read_modes(self._camera)
            if not modes:
                _log.warning("%s: cannot read the sensor's modes; the field of view may be reduced", self.name)
                return []
            _modes_of[self._key] = modes
        modes = _modes_of[self._key]
        if wanted == "full":
            return full_field(modes)
        fitting = [mode for mode in modes if str(mode) == wanted]
        if not fitting:
            there = ", ".join(dict.fromkeys(map(str, sorted(modes, key=lambda mode: mode.area))))
            raise InputError(f"source.sensor_mode: {self._display_name} has no mode {wanted}; it has {there}")
        return fitting

    def _warn_about(self, mode: SensorMode, size: tuple[int, int], settings: SourceSettings) -> None:
        """Log a warning for each request of the settings that ``mode`` cannot meet."""
        if not mode.reaches(settings.fps):
            _log.warning(
                "%s: sensor mode %s gives %.4g frames per second, not %g; source.sensor_mode = %s",
                *(self.name, mode, mode.max_fps, settings.fps, '"auto" may be faster, with a smaller field of view'),
            )
        if not mode.holds(size):
            _log.warning(
                "%s: pictures of %dx%d are upscaled from sensor mode %s; set a smaller size or a lower rate",
                *(self.name, *size, mode),
            )


def camera_controls(settings: SourceSettings) -> dict[str, Any]:
    """Return libcamera's controls for the values that are set; all others stay automatic."""
    autofocus = settings.autofocus if settings.lens_position is None else False
    controls = {
        "FrameDurationLimits": None if settings.fps is None else _frame_durations(settings.fps),
        "ExposureTime": settings.exposure_us,
        "AnalogueGain": settings.gain,
        "ExposureValue": settings.ev,
        "LensPosition": settings.lens_position,
        "AfMode": None if autofocus is None else _AF_CONTINUOUS if autofocus else _AF_MANUAL,
    }
    return {key: value for key, value in controls.items() if value is not None}


def frame_rate(asked_us: tuple[int, int], limits_us: tuple[int, ...]) -> float:
    """Return the frame rate of a camera with requested frame durations ``asked_us``: minimum and maximum, microseconds.

    ``limits_us`` starts with the minimum and maximum of the sensor mode; libcamera stays within them.
    """
    shortest_us, longest_us = limits_us[:2]
    duration_us = max(asked_us[0], shortest_us)
    if longest_us >= shortest_us > 0:
        duration_us = min(duration_us, longest_us)
    return 1e6 / max(1, duration_us)


def y_plane(buffer: UInt8Array, width: int, height: int, stride: int) -> UInt8Array:
    """Return the grey picture in a YUV420 buffer, uint8 [bytes], as a view [height, width] without row padding.

    The Y plane comes first, with ``stride`` bytes per row.

    Raises:
        ValueError: if the buffer is too small.
    """
    if not 0 < width <= stride or buffer.ndim != 1 or buffer.size < height * stride:
        raise ValueError(f"{buffer.size} bytes cannot hold a picture of {width}x{height} with rows of {stride} bytes")
    return np.asarray(buffer[: height * stride].reshape(height, stride)[:, :width])


def import_picamera2() -> Any:
    """Import and return the package picamera2.

    Raises:
        InputError: if it is missing, does not load or is too old.
    """
    # Imported here: it loads the email package, 4 MiB that no other source needs.
    from importlib.metadata import PackageNotFoundError, version

    with suppress(PackageNotFoundError):
        found = version("picamera2")
        if tuple(int(part) for part in re.findall(r"\d+", found)[:3]) < _MIN_VERSION:
            raise _too_old(found)  # checked before the import: an old version may not even load
    try:
        import picamera2
    except ImportError as error:
        missing = error.name or "picamera2"
        raise InputError(
            f"picamera2: {missing} is not installed: sudo apt-get install python3-picamera2, and create the virtual"
            " environment with python3 -m venv --system-site-packages"
        ) from None
    except (ValueError, AttributeError, RuntimeError, OSError) as error:
        # numpy 2 breaks Bookworm's simplejpeg, which picamera2 imports: "numpy.dtype size changed".
        raise InputError(
            f"picamera2: it is installed but cannot be imported: {error}; see locks/ for matching versions"
        ) from None
    if "timeout" not in inspect.signature(picamera2.Picamera2.wait).parameters:
        raise _too_old("(unknown)")
    return picamera2


def _too_old(found: str) -> InputError:
    wanted = ".".join(map(str, _MIN_VERSION))
    return InputError(f"picamera2: version {found} is too old, {wanted} or newer is required: {_UPGRADE}")


def _frame_durations(fps: float) -> tuple[int, int]:
    frame_us = round(1e6 / fps)
    return frame_us, frame_us


def _open_camera(package: Any, which: int | str) -> tuple[Any, str | int, str]:
    """Return the open camera, its key in ``_in_use``, and its display name. Raises SourceLostError."""
    found = package.Picamera2.global_camera_info()
    ids = [camera.get("Id", number) for number, camera in enumerate(found)]
    if isinstance(which, str) and which not in ids:
        there = ", ".join(f"picamera2:{known}" for known in ids) or "none"
        raise SourceLostError(f"picamera2: camera {which} not found; libcamera sees: {there}")
    number = ids.index(which) if isinstance(which, str) else which
    if number >= len(found):
        raise SourceLostError(
            f"picamera2: camera {number} not found, libcamera sees {len(found)}; check the ribbon cable"
            " (rpicam-hello --list-cameras)"
        )
    key, display_name = ids[number], f"camera {number} ({found[number].get('Model', 'unknown')})"
    with _in_use_lock:
        if key in _in_use:
            raise SourceLostError(
                f"picamera2: {display_name} is already open in this process, or did not stop;"
                " is it in source.uris twice?"
            )
        _in_use.add(key)
    camera = package.Picamera2.__new__(package.Picamera2)
    try:
        camera.__init__(number)
    except BaseException as error:
        _release(camera)
        with _in_use_lock:
            _in_use.discard(key)
        if not isinstance(error, RuntimeError | LookupError | OSError):
            raise
        raise SourceLostError(
            f"picamera2: {display_name} cannot be opened: {_first_cause(error)}; is another program using it?"
        ) from None
    return camera, key, display_name


def _release(camera: Any) -> None:
    """Release what a Picamera2 acquired before its ``__init__`` failed.

    Its ``close`` does nothing for a camera that was never opened: it leaves a pipe open, and the object stays in the
    list of cameras that receive frames.
    """
    if getattr(camera, "is_open", False):
        with suppress(Exception):  # close() uses the allocator, which may not exist after a failed __init__
            camera.close()
        return
    manager = getattr(camera, "_cm", None)
    if manager is not None:
        with manager._lock:
            for number in [number for number, held in manager.cameras.items() if held is camera]:
                del manager.cameras[number]
    with suppress(AttributeError, OSError):
        camera.notifymeread.close()
    with suppress(AttributeError, OSError):
        os.close(camera.notifyme_w)


def _first_cause(error: BaseException) -> BaseException:
    """Return the original cause of ``error``: picamera2's own message only says that opening failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
