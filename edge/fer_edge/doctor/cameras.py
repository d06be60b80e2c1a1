"""Checks of cameras and of the configured sources."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from fer_edge.doctor.checks import Context, Finding, bad, has_access, ok, skipped, user_name, warn
from fer_edge.settings.redaction import redacted


def check_cameras(context: Context) -> Finding:
    """List cameras with stable names; check that the configured ones exist and can be opened."""
    from fer_edge.sources.camera import camera_device
    from fer_edge.sources.v4l2.devices import list_cameras

    devices = context.root / "dev"
    named = [
        (str(device), context.root / device.relative_to("/"))
        for device in map(camera_device, context.settings.uris)
        if device is not None
    ]
    needs_media = any(uri.startswith("picamera2") for uri in context.settings.uris)
    nodes = sorted(path for path in devices.glob("*") if re.fullmatch(r"(video|media)\d+", path.name))
    cameras = list_cameras(context.root)
    listed = "; ".join(f"{camera.model} ({camera.node}), in the settings: {camera.stable_name}" for camera in cameras)
    missing = [name for name, path in named if not path.exists()]
    if missing:
        fix = f"available: {listed}" if listed else "check the plug; lsusb lists USB devices"
        return bad(f"{', '.join(missing)}: camera not found", fix)
    if needs_media and not any(path.name.startswith("media") for path in nodes):
        return bad("no /dev/media*: no camera detected", "rpicam-hello --list-cameras; check the cable")
    if not nodes:
        return skipped("no camera found, and no source needs one")
    used = {path.resolve() for _, path in named}
    denied = [path for path in nodes if not has_access(path, os.R_OK | os.W_OK)]
    if denied:
        fix = f"sudo usermod -aG video {user_name()}, then log in again"
        needed = needs_media or any(path.resolve() in used for path in denied)
        names = ", ".join(f"/dev/{path.name}" for path in denied)
        return (bad if needed else warn)(f"{names}: permission denied", fix)
    others = [f"/dev/{path.name}" for path in nodes if f"/dev/{path.name}" not in {camera.node for camera in cameras}]
    not_capture = [name for name, path in named if _cannot_capture(path)]
    if not_capture:
        return bad(f"{', '.join(not_capture)}: not a capture device", f"available: {listed or 'no camera'}")
    return ok("; ".join(filter(None, (listed, f"other devices: {', '.join(others)}" if others else ""))))


def _cannot_capture(node: Path) -> bool:
    """Return whether the device reports that it captures no images: metadata nodes of USB cameras, codecs."""
    from fer_edge.sources.v4l2.devices import is_camera, query_capabilities

    capability = query_capabilities(node)
    return capability is not None and not is_camera(capability)


def check_sources(context: Context) -> Finding:
    """Report the kind of each source; check that files exist and network cameras are reachable."""
    if not context.settings.uris:
        return skipped('none configured; set [source] uris = ["0"], or pass one to fer-edge run')
    kinds = []
    for uri in context.settings.uris:
        kind, problem = _source(uri, context)
        if problem is not None:
            return bad(f"{redacted(uri)} ({kind}): {problem}", "fer-edge run --help lists the kinds of sources")
        kinds.append(f"{redacted(uri)} ({kind})")
    return ok(", ".join(kinds))


def _source(uri: str, context: Context) -> tuple[str, str | None]:
    """Return the kind of a source and, if it cannot be used, the reason."""
    from fer_edge.sources.camera import camera_device
    from fer_edge.sources.demo.source import DEMO_URIS
    from fer_edge.sources.picamera.source import camera_of

    if uri in DEMO_URIS:
        return "built-in scene", None
    if camera_device(uri) is not None:
        return "USB camera", None
    if camera_of(uri) is not None:
        return "Raspberry Pi camera", None
    if "://" in uri:
        return "network camera", _connection_problem(uri, context.timeout_s)
    path = Path(uri)
    return "folder of images" if path.is_dir() else "file", None if path.exists() else "file or folder not found"


def _connection_problem(url: str, timeout_s: float) -> str | None:
    from fer_edge.sources.stream.probe import PORTS

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme.lower())
    except ValueError as error:
        return str(error)
    if host is None or port is None:
        return "not a camera URL"
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError as error:
        return f"{host} port {port}: {error.strerror or error}"
    return None
