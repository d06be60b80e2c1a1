"""Where frames come from: ``open_source`` chooses by URI; each kind of source is one file.

To add a source: write one new file with a class that fits ``fer_edge.frames.FrameSource``, and add one line to
``_OPENERS``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.protocols import FrameSource, NoFrame
from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import SourceSettings
from fer_edge.sources import camera, demo, folder, opencv
from fer_edge.sources.newest import NewestFrameSource
from fer_edge.sources.opening import Opening, Unopened, first_to_open
from fer_edge.sources.picamera.source import open_picamera2
from fer_edge.sources.stream.source import open_stream
from fer_edge.sources.view import adjusted

KNOWN_SOURCES = (
    "demo, a video or image file, a folder of images, 0 or /dev/video0 or /dev/v4l/by-id/…, picamera2,"
    " rtsp://… or http(s)://…"
)
"""What a user may name, in words."""

_OPENERS: tuple[Callable[[str, SourceSettings, str], FrameSource | Unopened | None], ...] = (
    demo.open_demo,
    camera.open_camera,
    open_picamera2,
    open_stream,
    folder.open_images,
    opencv.open_video,
)
"""Asked in this order; the first that does not answer None has the URI.

Each raises InputError for all that can be refused, at once. What may keep one waiting, or be there another time, it
leaves to the ``Unopened`` that it answers with.
"""

_GRACE_S = 1.0
"""A stream that falls silent tells so itself, better than who waits for its frames; hence a little longer."""
_OPENING_TIMEOUTS = 3
"""Times ``timeout_s`` that opening may take: to open a stream, to ask why it does not, and the name servers' time."""

__all__ = [
    "KNOWN_SOURCES",
    "FrameSource",
    "NoFrame",
    "Opening",
    "first_to_open",
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
    """The source behind ``uri``: one of ``KNOWN_SOURCES``, its pictures turned and so on as the settings say.

    ``realtime`` (default: as the settings say) paces a file as a camera would, the newest frame winning; a camera is
    always so. ``name`` is what frames and events are marked with (default: see ``source_names``). Raises InputError
    for what is missing or cannot be used, SourceLostError for a camera or stream that cannot be opened.

    >>> with open_source("demo", name="door") as source:
    ...     frame = source.read(timeout_s=1.0)
    >>> frame.source, frame.width, frame.height
    ('door', 640, 480)
    """
    settings = settings or SourceSettings()
    realtime = settings.realtime if realtime is None else realtime
    found = _find(str(uri), settings, name or source_names([str(uri)])[0], realtime=realtime)
    return found.open() if isinstance(found, Unopened) else found


def open_sources(uris: Sequence[str], settings: SourceSettings, *, realtime: bool = False) -> list[Opening]:
    """Begin to open all, side by side: files are open at once, cameras and streams as soon as they answer.

    Each of these may take three times ``settings.timeout_s``. Raises InputError, as ``open_source`` does, before any
    camera or stream is touched, and with nothing left open.
    """
    limit_s = _OPENING_TIMEOUTS * settings.timeout_s
    with ExitStack() as opened:
        found: list[tuple[str, FrameSource | Unopened]] = []
        for uri, name in zip(uris, source_names(uris), strict=True):
            source = _find(uri, settings, name, realtime=realtime)
            if not isinstance(source, Unopened):
                opened.enter_context(source)
            found.append((name, source))
        opened.pop_all()
    return [Opening(name, source, limit_s) for name, source in found]


def source_names(uris: Sequence[str]) -> list[str]:
    """A short name for each URI: the file's or folder's own, ``video0`` for a camera, a stream's host.

    Equal ones get ``-2`` and so on. No password is in them: names stand in events, logs and file names.
    """
    names: list[str] = []
    for uri in uris:
        base = _short_name(uri)
        candidates = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        names.append(next(name for name in candidates if name not in names))
    return names


def _short_name(uri: str) -> str:
    device = camera.camera_device(uri)
    if device is not None:
        return camera.camera_name(device)
    shown = redacted(uri)
    if "://" in shown:
        try:
            return urlsplit(shown).hostname or "stream"
        except ValueError:
            return "stream"
    return Path(shown).absolute().name or uri


def _find(uri: str, settings: SourceSettings, name: str, *, realtime: bool) -> FrameSource | Unopened:
    """What ``open_source`` gives, but for cameras and streams, which are still to be opened. Raises InputError."""
    found = _ask_openers(uri, settings, name)
    if not isinstance(found, Unopened):
        return _finished(found, settings, realtime=realtime)
    connect = found.open
    return Unopened(lambda: _finished(connect(), settings, realtime=realtime))


def _ask_openers(uri: str, settings: SourceSettings, name: str) -> FrameSource | Unopened:
    try:
        for opener in _OPENERS:
            found = opener(uri, settings, name)
            if found is not None:
                return found
    except FerEdgeError:
        raise
    except OSError as error:
        raise InputError(f"{redacted(uri)}: cannot look at it: {error.strerror}") from None
    raise InputError(_refusal(uri))


def _finished(source: FrameSource, settings: SourceSettings, *, realtime: bool) -> FrameSource:
    """``source`` as the pipeline reads it."""
    if source.live:
        source = NewestFrameSource(source, lost_after_s=settings.timeout_s + _GRACE_S)
    elif realtime:
        source = NewestFrameSource(source, paced=True)
    return adjusted(source, settings)


def _refusal(uri: str) -> str:
    if "://" in uri:
        return f"{redacted(uri)}: {uri.partition('://')[0]} sources are not taken; use {KNOWN_SOURCES}"
    return f"{redacted(uri)}: no such file or folder; use {KNOWN_SOURCES}"
