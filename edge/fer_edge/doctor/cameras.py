"""Cameras and the other sources that the settings name."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from fer_edge.doctor.checks import Case, Finding, broken, doubtful, fine, may, skipped, user_name
from fer_edge.settings.redaction import redacted

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


def look_at_cameras(case: Case) -> Finding:
    """The cameras with their lasting names, whether they may be opened, and whether those of the settings are there."""
    from fer_edge.sources.camera import camera_device
    from fer_edge.sources.v4l2.devices import list_cameras

    devices = case.root / "dev"
    named = [device for device in map(camera_device, case.settings.source.uris) if device is not None]
    needs_media = any(uri.startswith("picamera2") for uri in case.settings.source.uris)
    there = sorted(path for path in devices.glob("*") if re.fullmatch(r"(video|media)\d+", path.name))
    cameras = list_cameras(case.root)
    listed = "; ".join(f"{camera.model} ({camera.node}), in the settings: {camera.stable_name}" for camera in cameras)
    missing = [str(device) for device in named if not _below(case.root, device).exists()]
    if missing:
        mend = f"there is: {listed}" if listed else "is it plugged in? lsusb shows what is"
        return broken(f"{', '.join(missing)}: no such camera", mend)
    if needs_media and not any(path.name.startswith("media") for path in there):
        return broken("no /dev/media*: the system sees no camera", "rpicam-hello --list-cameras; check the cable")
    if not there:
        return skipped("none here, and no source needs one")
    used = {_below(case.root, device).resolve() for device in named}
    closed = [path for path in there if not may(path, os.R_OK | os.W_OK)]
    if closed:
        mend = f"sudo usermod -aG video {user_name()}, then log in again"
        needed = needs_media or any(path.resolve() in used for path in closed)
        names = ", ".join(f"/dev/{path.name}" for path in closed)
        return (broken if needed else doubtful)(f"{names}: may not be opened", mend)
    others = [f"/dev/{path.name}" for path in there if f"/dev/{path.name}" not in {camera.node for camera in cameras}]
    wrong = [str(device) for device in named if _gives_no_pictures(_below(case.root, device))]
    if wrong:
        return broken(f"{', '.join(wrong)}: gives no pictures", f"there is: {listed or 'no camera'}")
    return fine("; ".join(filter(None, (listed, f"other devices: {', '.join(others)}" if others else ""))))


def _below(root: Path, device: Path) -> Path:
    return root / device.relative_to("/")


def _gives_no_pictures(node: Path) -> bool:
    """Whether the device says so itself: the second node of a USB camera gives metadata, other nodes are codecs."""
    from fer_edge.sources.v4l2.devices import is_camera, query_capabilities

    capability = query_capabilities(node)
    return capability is not None and not is_camera(capability)


def look_at_sources(case: Case) -> Finding:
    """Of what kind each source is, and whether it is there."""
    if not case.settings.source.uris:
        return skipped('none in the settings; set [source] uris = ["0"], or name one to fer-edge run')
    told = []
    for uri in case.settings.source.uris:
        kind, trouble = _source(uri, case)
        if trouble is not None:
            return broken(
                f"{redacted(uri)} ({kind}): {trouble}", "fer-edge run takes the sources that its --help names"
            )
        told.append(f"{redacted(uri)} ({kind})")
    return fine(", ".join(told))


def _source(uri: str, case: Case) -> tuple[str, str | None]:
    """The kind of a source in words, and what is wrong with it."""
    from fer_edge.sources.camera import camera_device
    from fer_edge.sources.demo import DEMO_URI
    from fer_edge.sources.picamera.source import camera_of

    if uri == DEMO_URI:
        return "built-in scene", None
    if camera_device(uri) is not None:
        return "USB camera", None
    if camera_of(uri) is not None:
        return "Raspberry Pi camera", None
    if "://" in uri:
        return "network camera", _why_unreachable(uri, case.patience_s)
    path = Path(uri)
    return "folder of images" if path.is_dir() else "file", None if path.exists() else "no such file or folder"


def _why_unreachable(url: str, patience_s: float) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme.lower())
    except ValueError as error:
        return str(error)
    if host is None or port is None:
        return "no URL of a camera"
    try:
        socket.create_connection((host, port), patience_s).close()
    except OSError as error:
        return f"{host} port {port}: {error.strerror or error}"
    return None
