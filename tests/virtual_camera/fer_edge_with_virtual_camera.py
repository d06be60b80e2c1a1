"""Run inside the root: ``fer-edge run …`` on picamera2 and libcamera's virtual camera, which no picamera2 expects.

Two things are bent for that, both outside what is tested: the camera has no raw modes, and wants a plane of its own for
the colours in each buffer. ``pykms`` (a preview on a screen) and ``pidng`` (raw photos) are stood in for, unused.
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
    picamera2.Picamera2._get_raw_modes = lambda self: [{"format": "SBGGR8", "size": (1280, 960)}]


def _look() -> None:
    """Two pictures of the source itself: the test pattern's bars, from white to black, and their times."""
    import time

    from fer_edge.config import SourceSettings
    from fer_edge.sources import open_source
    from fer_edge.types import Frame

    settings = SourceSettings(width=640, height=480, fps=30, ev=1.0)
    with open_source("picamera2", settings) as source:
        frames: list[Frame] = []
        while len(frames) < 2:
            if isinstance(frame := source.read(5.0), Frame):
                assert 0 <= time.monotonic() - frame.captured_at < 2, frame.captured_at
                frames.append(frame)
    for frame in frames:
        assert frame.gray.shape == (480, 640)
        assert frame.gray.flags.owndata and frame.gray.flags.c_contiguous
        bars = frame.gray[240, 40::80]
        assert bars[0] == 235 and bars[-1] == 16 and (bars[:-1] > bars[1:]).all(), bars
    assert frames[0].captured_at < frames[1].captured_at
    print("two pictures of the test pattern")


def _hang() -> None:
    """A camera whose stop blocks for ever, as after an unplug, keeps neither the source nor the process from ending."""
    import time

    import picamera2

    from fer_edge.config import SourceSettings
    from fer_edge.sources import open_source
    from fer_edge.types import Frame

    picamera2.Picamera2.stop = lambda self: time.sleep(3600)
    source = open_source("picamera2", SourceSettings())
    while not isinstance(source.read(5.0), Frame):
        pass
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 10
    print("a stop that blocks is left behind")


if __name__ == "__main__":
    _bend_picamera2()
    if sys.argv[1:] == ["look"]:
        _look()
    elif sys.argv[1:] == ["hang"]:
        _hang()
    else:
        from fer_edge.cli import main

        sys.exit(main(sys.argv[1:]))
