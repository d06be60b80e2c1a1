"""Which V4L2 devices are cameras, and the names by which they are found again after a restart or a replug.

Links below /dev/v4l are udev's: ``by-id`` is of the camera itself (maker, model, serial number), ``by-path`` of the
socket that it is plugged into. /dev/videoN is whatever came N-th.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from fer_edge.sources.v4l2 import structs

_NODE = re.compile(r"video(\d{1,3})")
LIBCAMERA_DRIVERS = ("bcm2835-isp", "pispbe", "unicam", "rp1-cfe")
"""Drivers of the Raspberry Pi's own cameras and of what processes their pictures, which libcamera uses."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A device that gives pictures: its node such as /dev/video0, and its links, the one ``by-id`` first.

    ``model`` is what its driver calls it, empty where it does not say.
    """

    node: str
    model: str
    links: tuple[str, ...]

    @property
    def lasting_name(self) -> str:
        """What to write into the settings: a name that stays, where there is one."""
        return self.links[0] if self.links else self.node


def device_number(node: Path) -> int:
    """3 for ``/dev/video3``. Raises ValueError for other names."""
    match = _NODE.fullmatch(node.name)
    if match is None:
        raise ValueError(f"{node}: not a name of the form videoN")
    return int(match.group(1))


def video_nodes(devices: Path) -> list[Path]:
    """All /dev/videoN of the folder ``devices``, by their numbers; not all of them are cameras."""
    return sorted((path for path in devices.glob("video*") if _NODE.fullmatch(path.name)), key=device_number)


def ask_device(node: Path) -> structs.Capability | None:
    """What the device says of itself (VIDIOC_QUERYCAP); None where it may not be opened or is of another kind."""
    import fcntl  # not on every system

    capability = structs.Capability()
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, structs.QUERYCAP, capability)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return capability


def is_camera(capability: structs.Capability) -> bool:
    """Whether a device gives pictures and is not a codec, and not one of those that libcamera uses."""
    powers = structs.device_powers(capability)
    gives = powers & (structs.CAN_CAPTURE | structs.CAN_CAPTURE_PLANES) and not powers & structs.CAN_CONVERT
    return bool(gives) and not _text(capability.driver).startswith(LIBCAMERA_DRIVERS)


def list_cameras(root: Path = Path("/")) -> list[Camera]:
    """The cameras below ``root``'s /dev, without nodes of metadata, codecs and the Raspberry Pi's own cameras.

    What a device is, only the device can say: one that may not be opened is left out.
    """
    devices = root / "dev"
    links = _links(devices)
    found = []
    for node in video_nodes(devices):
        capability = ask_device(node)
        if capability is None or not is_camera(capability):
            continue
        named = tuple(f"/{link.relative_to(root)}" for link in links if link.resolve() == node.resolve())
        found.append(Camera(f"/dev/{node.name}", _text(capability.card), named))
    return found


def _links(devices: Path) -> list[Path]:
    return [path for kind in ("by-id", "by-path") for path in sorted((devices / "v4l" / kind).glob("*"))]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace").strip()
