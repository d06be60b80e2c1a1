"""Frame sources: ``open_source`` selects one by its URI; each kind is one file or folder.

To add a source, write one file with a class that implements ``fer_edge.protocols.FrameSource``, and add its opener to
``_OPENERS``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.protocols import FrameSource
from fer_edge.settings.redaction import redacted
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import camera, file, folder
from fer_edge.sources.demo.source import open_demo
from fer_edge.sources.names import NamedSource, named_sources, source_names
from fer_edge.sources.newest import NewestFrameSource
from fer_edge.sources.opening import Opening, Unopened, first_to_open
from fer_edge.sources.picamera.source import open_picamera2
from fer_edge.sources.stream.source import open_stream
from fer_edge.sources.view import adjust_source

KNOWN_SOURCES = (
    "demo, a video or image file, a folder of images, 0 or /dev/video0 or /dev/v4l/by-id/…, picamera2,"
    " rtsp://… or http(s)://…"
)
"""The accepted sources, for error messages."""

_OPENERS: tuple[Callable[[str, SourceSettings, str], FrameSource | Unopened | None], ...] = (
    open_demo,
    camera.open_camera,
    open_picamera2,
    open_stream,
    folder.open_images,
    file.open_video,
)
"""Tried in this order; the first that does not return None handles the URI.

An opener raises InputError at once for what it can check without waiting. Anything that may block, or may be available
later, belongs in the ``open`` of the ``Unopened`` that it returns.
"""

_GRACE_S = 1.0
"""Extra time before ``NewestFrameSource`` declares a source lost: the source itself reports a more precise reason."""
_OPENING_TIMEOUTS = 3
"""Opening may take this many times ``timeout_s``: open the stream, diagnose a failure, and resolve the name."""

__all__ = [
    "KNOWN_SOURCES",
    "NamedSource",
    "Opening",
    "first_to_open",
    "named_sources",
    "open_source",
    "open_sources",
    "source_names",
]


def open_source(
    uri: str | int | os.PathLike[str],
    settings: SourceSettings | None = None,
    *,
    realtime: bool | None = None,
    name: str | None = None,
) -> FrameSource:
    """Open the source at ``uri``, with its pictures preprocessed as the settings specify.

    Args:
        uri: One of ``KNOWN_SOURCES``; 0 is /dev/video0.
        settings: Picture size, rotation, region and so on; the defaults if None.
        realtime: Pace a file like a camera, where the newest frame wins; ``settings.realtime`` if None. A camera is
            always read like this.
        name: The name in frames and events; from ``source_names`` if None.

    Raises:
        InputError: if the file is missing, or the URI or file cannot be used.
        SourceLostError: if the camera or stream cannot be opened.

    >>> with open_source("demo", name="door") as source:
    ...     frame = source.read(timeout_s=1.0)
    >>> frame.source, frame.width, frame.height
    ('door', 640, 480)
    """
    settings = settings or SourceSettings()
    realtime = settings.realtime if realtime is None else realtime
    found = _find(str(uri), settings, name or source_names([str(uri)])[0], realtime=realtime)
    if not isinstance(found, Unopened):
        return found
    if found.reopens:
        return found.open()
    # In a thread, because FFmpeg may never return from a film; Ctrl-C still works.
    opened = Opening(Path(str(uri)).name, found, _limit_s(settings)).wait(threading.Event())
    assert opened is not None, "nothing stops the wait"
    return opened


def open_sources(
    sources: Sequence[NamedSource], *, realtime: bool = False, stop: threading.Event | None = None
) -> list[Opening]:
    """Start to open all sources in parallel: files are open on return, cameras and streams once they respond.

    Each may take three times its ``timeout_s``. If ``stop`` is set, films may not be open on return.

    Raises:
        InputError: as ``open_source`` does, before any camera or stream is opened, and with nothing left open.
    """
    stop = stop or threading.Event()
    with ExitStack() as opened:
        openings: list[Opening] = []
        cameras: list[tuple[int, NamedSource, Unopened]] = []
        for place, named in enumerate(sources):
            found = _find(named.uri, named.settings, named.name, realtime=realtime)
            if isinstance(found, Unopened) and found.reopens:
                cameras.append((place, named, found))
                continue
            openings.append(Opening(named.name, found, _limit_s(named.settings)))
            opened.callback(openings[-1].close)
        for opening in openings:
            opening.wait(stop)
        opened.pop_all()
    for place, named, unopened in cameras:
        openings.insert(place, Opening(named.name, unopened, _limit_s(named.settings)))
    return openings


def _limit_s(settings: SourceSettings) -> float:
    return _OPENING_TIMEOUTS * settings.timeout_s


def _find(uri: str, settings: SourceSettings, name: str, *, realtime: bool) -> FrameSource | Unopened:
    """Return what ``open_source`` does, except that cameras and streams are not opened yet. Raises InputError."""
    found = _ask_openers(uri, settings, name)
    if isinstance(found, Unopened):
        return Unopened(lambda: _prepare(found.open(), settings, realtime=realtime), found.reopens)
    return _prepare(found, settings, realtime=realtime)


def _ask_openers(uri: str, settings: SourceSettings, name: str) -> FrameSource | Unopened:
    if not uri.strip():  # would be the working directory
        raise InputError(f"the source is empty; use {KNOWN_SOURCES}")
    try:
        for opener in _OPENERS:
            found = opener(uri, settings, name)
            if found is not None:
                return found
    except FerEdgeError:
        raise
    except OSError as error:
        raise InputError(f"{redacted(uri)}: cannot be accessed: {error.strerror}") from None
    scheme, is_url, _ = uri.partition("://")
    problem = f"{scheme} sources are not supported" if is_url else "no such file or folder"
    raise InputError(f"{redacted(uri)}: {problem}; use {KNOWN_SOURCES}")


def _prepare(source: FrameSource, settings: SourceSettings, *, realtime: bool) -> FrameSource:
    """Return ``source`` with its reader thread, if it needs one, and its preprocessing."""
    if source.live:
        source = NewestFrameSource(source, lost_after_s=settings.timeout_s + _GRACE_S)
    elif realtime:
        source = NewestFrameSource(source, paced=True)
    return adjust_source(source, settings)
