"""Run inside the root: ``fer-edge`` on picamera2 and libcamera's virtual camera, which picamera2 does not support.

Three things outside the tested code are adapted: the camera has no raw modes, needs a separate plane for the colours in
each buffer, and has its first frame at once. ``pykms`` (preview on a screen) and ``pidng`` (raw photos) are replaced by
stubs and not used.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any


class _AnyName(type):
    def __getattr__(cls, name: str) -> str:
        return name


def _stand_in(name: str, **members: Any) -> None:
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(members)


def _bend_picamera2() -> None:
    _stand_in("pykms", PixelFormat=_AnyName("PixelFormat", (), {}), DmabufFramebuffer=object)
    _stand_in("pidng")
    _stand_in("pidng.camdefs", Picamera2Camera=object)
    _stand_in("pidng.core", PICAM2DNG=object)
    import libcamera
    import picamera2
    from picamera2.allocators import dmaallocator

    def two_planes(planes: list[Any]) -> Any:
        (luma,) = planes
        colours, whole = libcamera.FrameBuffer.Plane(), luma.length
        luma.length = whole * 2 // 3
        colours.fd, colours.offset, colours.length = luma.fd, luma.length, whole - luma.length
        return libcamera.FrameBuffer([luma, colours])

    two_planes.Plane = libcamera.FrameBuffer.Plane  # type: ignore[attr-defined]
    dmaallocator.libcamera = SimpleNamespace(FrameBuffer=two_planes)
    raw_modes = picamera2.Picamera2._get_raw_modes

    def get_raw_modes(self: Any) -> Any:
        """Return the real modes if ``as_sensor`` provides a sensor."""
        return raw_modes(self) if self._is_rpi_camera() else [{"format": "SBGGR8", "size": (1280, 960)}]

    picamera2.Picamera2._get_raw_modes = get_raw_modes
    start = picamera2.Picamera2.start_

    def start_(self: Any) -> None:
        """Start the camera under the lock, because its first frame is ready at once, unlike a real camera's.

        Picamera2 drops a frame that arrives before it has recorded that the camera is started, together with its
        request.
        """
        with self._cm._lock:  # also needed to pass frames on
            start(self)

    picamera2.Picamera2.start_ = start_


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "unbent":  # for a picamera2 that should not be loaded
        arguments = arguments[1:]
    else:
        _bend_picamera2()
    if arguments[0] == "check":
        import checks

        checks.main(arguments[1])
    else:
        from fer_edge.commands.cli import main

        sys.exit(main(arguments))
