"""Make the virtual camera look like the sensor of a Raspberry Pi camera, with the modes of the sensor's driver.

Everything else is picamera2's own code: the choice of the mode, the configuration, the streams. Only its queries about
the sensor are answered here, from the driver's table.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libcamera
import picamera2
from sensors import SENSORS, Mode, Sensor

configured: list[Any] = []
"""Each configuration that was requested: the sensor's size and depth, and the streams' sizes and formats."""


class SensorCamera:
    """libcamera's virtual camera ``inner`` with the properties of ``sensor``."""

    def __init__(self, inner: Any, sensor: Sensor) -> None:
        self._inner, self._sensor = inner, sensor
        self._mode: Mode | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def generate_configuration(self, roles: list[Any]) -> Any:
        """Return the virtual camera's configuration, with the sensor's raw streams."""
        if roles != [libcamera.StreamRole.Raw]:
            return self._inner.generate_configuration(roles)
        formats: dict[str, list[Any]] = {}
        for (width, height), bits, _, _ in self._sensor.modes:
            name = f"R{bits}" if self._sensor.mono else f"SRGGB{bits}" + ("_CSI2P" if bits > 8 else "")
            formats.setdefault(name, []).append(libcamera.Size(width, height))
        listed = SimpleNamespace(pixel_formats=list(formats), sizes=lambda name: formats[name])
        return SimpleNamespace(at=lambda index: SimpleNamespace(formats=listed))

    def configure(self, configuration: Any) -> Any:
        """Select the sensor mode from ``configuration``, like libcamera's pipeline handler."""
        wanted = configuration.sensor_config
        size, bits = (wanted.output_size.width, wanted.output_size.height), wanted.bit_depth
        (self._mode,) = (mode for mode in self._sensor.modes if mode[:2] == (size, bits))
        streams = [(str(stream.pixel_format), (stream.size.width, stream.size.height)) for stream in configuration]
        configured.append((size, bits, streams))
        return self._inner.configure(configuration)

    @property
    def controls(self) -> dict[Any, Any]:
        """The virtual camera's controls, with the limits of the sensor mode."""
        limits = dict(self._inner.controls.items())
        if self._mode is not None:
            _, _, fps, crop = self._mode
            rectangle = libcamera.Rectangle(*crop)
            durations = SimpleNamespace(min=round(1e6 / fps), max=10**8, default=None)
            limits[libcamera.controls.FrameDurationLimits] = durations
            limits[libcamera.controls.ScalerCrop] = SimpleNamespace(min=rectangle, max=rectangle, default=rectangle)
        return limits

    @property
    def properties(self) -> dict[Any, Any]:
        """The virtual camera's properties, with the colour filter that identifies a Raspberry Pi camera."""
        known = {key: value for key, value in self._inner.properties.items() if key.name != "Model"}
        known[SimpleNameKey("ColorFilterArrangement")] = 0
        known[SimpleNameKey("Model")] = self._sensor.name
        return known


class SimpleNameKey:
    """A property id; only its name is used."""

    def __init__(self, name: str) -> None:
        self.name = name


def pretend(name: str) -> None:
    """Let every camera that is opened from now on have the sensor ``name``."""
    sensor = SENSORS[name]
    configured.clear()

    def grab(self: Any, number: int) -> SensorCamera:
        return SensorCamera(self.camera_manager.cameras[number], sensor)

    picamera2.Picamera2._grab_camera = grab
