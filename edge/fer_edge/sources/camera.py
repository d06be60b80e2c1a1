"""V4L2 cameras (USB and others), named by number, device node or udev link."""

from __future__ import annotations

import os
import re
import stat
import sys
from functools import partial
from pathlib import Path

from fer_edge.protocols import FrameSource
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.opening import Unopened

_NODE = re.compile(r"(?:/dev/video)?(\d{1,3})")
_LINK = re.compile(r"/dev/v4l/by-(?:id|path)/[^/]+")
_V4L_MAJOR = 81
"""Major number of V4L2 devices, https://docs.kernel.org/admin-guide/devices.html"""


def open_camera(uri: str, settings: SourceSettings, name: str) -> Unopened | None:
    """Return the camera of ``0``, ``/dev/video0`` or a link such as ``/dev/v4l/by-id/…``; None for any other URI."""
    device = camera_device(uri)
    return None if device is None else Unopened(partial(_open, device, settings, name))


def camera_device(uri: str) -> Path | None:
    """Return the device that ``uri`` names, such as /dev/video3 for ``3``; None if it does not name a camera.

    Links below /dev/v4l do not need to exist yet. Any other link, for example one made by a udev rule, must exist.
    """
    match = _NODE.fullmatch(uri)
    if match is not None:
        return Path(f"/dev/video{match.group(1)}")
    if _LINK.fullmatch(uri) or _is_video_device(uri):
        return Path(uri)
    return None


def _is_video_device(uri: str) -> bool:
    if not uri.startswith("/dev/"):
        return False
    try:
        status = Path(uri).stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == _V4L_MAJOR


def _open(device: Path, settings: SourceSettings, name: str) -> FrameSource:
    # Imported here because v4l2 needs fcntl, which Windows lacks, and Linux rarely needs the OpenCV camera.
    if sys.platform.startswith("linux"):
        from fer_edge.sources.v4l2.camera import open_v4l2

        return open_v4l2(device, settings, name)
    from fer_edge.sources.opencv_camera import OpenCVCamera

    return OpenCVCamera(int(device.name.removeprefix("video")), settings, name)
