"""USB and other cameras by the names that their system gives them."""

from __future__ import annotations

import os
import re
import stat
import sys
from functools import partial
from pathlib import Path

from fer_edge.protocols import FrameSource
from fer_edge.settings.runtime import SourceSettings
from fer_edge.sources.opening import Unopened

_NODE = re.compile(r"(?:/dev/video)?(\d{1,3})")
_LINK = re.compile(r"/dev/v4l/by-(?:id|path)/[^/]+")
_V4L_MAJOR = 81
"""Major number of V4L2 devices, https://docs.kernel.org/admin-guide/devices.html"""


def open_camera(uri: str, settings: SourceSettings, name: str) -> Unopened | None:
    """The camera of ``0``, ``/dev/video0``, or a link such as ``/dev/v4l/by-id/…``; None for any other URI."""
    device = camera_device(uri)
    return None if device is None else Unopened(partial(_open, device, settings, name))


def camera_device(uri: str) -> Path | None:
    """The device that a URI names, /dev/video3 for ``3``; None for what is not a camera.

    Links below /dev/v4l need not be there yet; another link, as a udev rule makes it, must be.
    """
    match = _NODE.fullmatch(uri)
    if match is not None:
        return Path(f"/dev/video{match.group(1)}")
    if _LINK.fullmatch(uri) or _is_video_device(uri):
        return Path(uri)
    return None


def camera_name(device: Path) -> str:
    """A short name for the camera at ``device``: ``video0``, or its link's without what all links have."""
    return device.name.removeprefix("usb-").removesuffix("-video-index0")


def _is_video_device(uri: str) -> bool:
    if not uri.startswith("/dev/"):
        return False
    try:
        status = Path(uri).stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == _V4L_MAJOR


def _open(device: Path, settings: SourceSettings, name: str) -> FrameSource:
    # Neither is imported before it is needed: one has no use elsewhere, the other is what Linux does without.
    if sys.platform.startswith("linux"):
        from fer_edge.sources.v4l2.camera import open_v4l2

        return open_v4l2(device, settings, name)
    from fer_edge.sources.opencv import OpenCVCamera

    return OpenCVCamera(int(device.name.removeprefix("video")), settings, name)
