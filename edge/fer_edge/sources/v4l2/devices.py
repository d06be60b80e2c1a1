"""Find V4L2 cameras, and names for them that stay valid after a restart or a replug.

udev creates the links below /dev/v4l: ``by-id`` names the camera (maker, model, serial number), ``by-path`` the socket
that it is plugged into. The numbers of /dev/videoN depend on the order of detection.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from fer_edge.sources.v4l2 import structs

_NODE = re.compile(r"video(\d{1,3})")
LIBCAMERA_DRIVERS = ("bcm2835-isp", "pispbe", "unicam", "rp1-cfe")
"""Drivers of Raspberry Pi cameras and of their image processors, which libcamera uses."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A capture device: its node such as /dev/video0, and the name that its driver reports, or empty.

    ``stable_name`` is the one to use in the settings: a link, if possible one ``by-id``, else the node.
    """

    node: str
    model: str
    stable_name: str


def device_number(node: Path) -> int:
    """Return 3 for ``/dev/video3``.

    Raises:
        ValueError: if the name has another form.
    """
    match = _NODE.fullmatch(node.name)
    if match is None:
        raise ValueError(f"{node}: not a name of the form videoN")
    return int(match.group(1))


def query_capabilities(node: Path) -> structs.Capability | None:
    """Return the device's capabilities (VIDIOC_QUERYCAP); None if it cannot be opened or is not a V4L2 device."""
    import fcntl  # not available on Windows

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
    """Return whether a device captures pictures and is neither a codec nor a device that libcamera uses."""
    powers = structs.node_capabilities(capability)
    gives = powers & (structs.CAN_CAPTURE | structs.CAN_CAPTURE_PLANES) and not powers & structs.CAN_CONVERT
    return bool(gives) and not _text(capability.driver).startswith(LIBCAMERA_DRIVERS)


def list_cameras(root: Path = Path("/")) -> list[Camera]:
    """Return the cameras in ``root``'s /dev, without metadata nodes, codecs and Raspberry Pi cameras.

    A device must be opened to query its kind; one that cannot be opened is left out.
    """
    devices = root / "dev"
    links = [path for kind in ("by-id", "by-path") for path in sorted((devices / "v4l" / kind).glob("*"))]
    nodes = [path for path in devices.glob("video*") if _NODE.fullmatch(path.name)]
    found = []
    for node in sorted(nodes, key=device_number):
        capability = query_capabilities(node)
        if capability is None or not is_camera(capability):
            continue
        stable = next((link for link in links if link.resolve() == node.resolve()), node)
        found.append(Camera(f"/dev/{node.name}", _text(capability.card), f"/{stable.relative_to(root)}"))
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace").strip()
