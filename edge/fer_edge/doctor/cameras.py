"""Cameras and the other sources that the settings name."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from fer_edge.doctor.checks import Case, Finding, broken, doubtful, fine, may, skipped, user_name
from fer_edge.redaction import redacted

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


def look_at_cameras(case: Case) -> Finding:
    """The devices of cameras, whether they may be opened, and whether those that the settings name are there."""
    from fer_edge.sources.opencv import camera_index

    devices = case.root / "dev"
    indices = [index for index in map(camera_index, case.settings.source.uris) if index is not None]
    needs_media = any(uri.startswith("picamera2") for uri in case.settings.source.uris)
    there = sorted(path for path in devices.glob("*") if re.fullmatch(r"(video|media)\d+", path.name))
    missing = [f"/dev/video{index}" for index in indices if devices / f"video{index}" not in there]
    if missing:
        return broken(f"{', '.join(missing)}: no such camera", "v4l2-ctl --list-devices tells which there are")
    if needs_media and not any(path.name.startswith("media") for path in there):
        return broken("no /dev/media*: the system sees no camera", "rpicam-hello --list-cameras; check the cable")
    if not there:
        return skipped("none here, and no source needs one")
    closed = [f"/dev/{path.name}" for path in there if not may(path, os.R_OK | os.W_OK)]
    if closed:
        mend = f"sudo usermod -aG video {user_name()}, then log in again"
        needed = needs_media or any(f"/dev/video{index}" in closed for index in indices)
        return (broken if needed else doubtful)(f"{', '.join(closed)}: may not be opened", mend)
    return fine(", ".join(f"/dev/{path.name}" for path in there))


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
    from fer_edge.sources.opencv import camera_index
    from fer_edge.sources.synthetic import DEMO_URI

    if uri == DEMO_URI:
        return "built-in scene", None
    if camera_index(uri) is not None:
        return "USB camera", None
    if re.fullmatch(r"picamera2(:\d{1,2})?", uri):
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
