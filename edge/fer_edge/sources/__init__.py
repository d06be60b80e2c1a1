"""Where frames come from: ``open_source`` chooses by URI; each kind of source is one file.

To add a source: write one new file with a class that fits ``base.FrameSource``, and add one line to ``_OPENERS``.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from fer_edge.config import SourceSettings
from fer_edge.errors import FerEdgeError, InputError, SourceLostError
from fer_edge.redaction import redacted
from fer_edge.sources import folder, network, opencv, picamera2, synthetic
from fer_edge.sources.base import FrameSource, NoFrame
from fer_edge.sources.newest import NewestFrameSource
from fer_edge.sources.opening import Opening
from fer_edge.sources.view import adjusted

KNOWN_SOURCES = "demo, a video or image file, a folder of images, 0 or /dev/video0, picamera2, rtsp://… or http(s)://…"
"""What a user may name, in words."""

_OPENERS: tuple[Callable[[str, SourceSettings, str], FrameSource | None], ...] = (
    synthetic.open_demo,
    opencv.open_camera,
    picamera2.open_picamera2,
    network.open_stream,
    folder.open_images,
    opencv.open_video,
)
"""Asked in this order; the first that does not answer None has the URI."""

_GRACE_S = 1.0
"""A stream that falls silent tells so itself, better than who waits for its frames; hence a little longer."""
_OPENING_TIMEOUTS = 3
"""Times ``timeout_s`` that opening may take: to open a stream, to ask why it does not, and the name servers' time."""

__all__ = ["KNOWN_SOURCES", "FrameSource", "NoFrame", "open_source", "open_sources", "source_names"]


def open_source(uri: str, settings: SourceSettings, *, realtime: bool = False, name: str | None = None) -> FrameSource:
    """The source behind ``uri``: one of ``KNOWN_SOURCES``, its pictures turned and so on as the settings say.

    ``realtime`` paces a file as a camera would, the newest frame winning; a camera is always so. ``name`` is what
    frames and events are marked with (default: see ``source_names``). Raises InputError for what is missing or
    cannot be used, SourceLostError for a camera or stream that cannot be opened.
    """
    source = _open(uri, settings, name or source_names([uri])[0])
    if source.live:
        source = NewestFrameSource(source, lost_after_s=settings.timeout_s + _GRACE_S)
    elif realtime:
        source = NewestFrameSource(source, paced=True)
    return adjusted(source, settings)


def open_sources(
    uris: Sequence[str], settings: SourceSettings, stop: threading.Event, *, realtime: bool = False
) -> list[FrameSource | SourceLostError]:
    """Open all at once; in the place of a camera or stream that cannot be opened stands why.

    Takes three times ``settings.timeout_s`` at most, and ends early when ``stop`` is set. Raises InputError, as
    ``open_source`` does, with nothing left open.
    """
    until = time.monotonic() + _OPENING_TIMEOUTS * settings.timeout_s
    openings = [
        Opening(name, partial(open_source, uri, settings, realtime=realtime, name=name))
        for uri, name in zip(uris, source_names(uris), strict=True)
    ]
    opened: list[FrameSource | SourceLostError] = []
    refusal: Exception | None = None
    for opening in openings:
        try:
            opened.append(opening.wait(until, stop))
        except Exception as error:  # noqa: BLE001 - raised below, once nothing is left open
            refusal = refusal or error
    if refusal is not None:
        for source in opened:
            if not isinstance(source, SourceLostError):
                source.close()
        raise refusal
    return opened


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
    index = opencv.camera_index(uri)
    if index is not None:
        return f"video{index}"
    shown = redacted(uri)
    if "://" in shown:
        try:
            return urlsplit(shown).hostname or "stream"
        except ValueError:
            return "stream"
    return Path(shown).absolute().name or uri


def _open(uri: str, settings: SourceSettings, name: str) -> FrameSource:
    try:
        for opener in _OPENERS:
            source = opener(uri, settings, name)
            if source is not None:
                return source
    except FerEdgeError:
        raise
    except OSError as error:
        raise InputError(f"{redacted(uri)}: cannot look at it: {error.strerror}") from None
    raise InputError(_refusal(uri))


def _refusal(uri: str) -> str:
    if "://" in uri:
        return f"{redacted(uri)}: {uri.partition('://')[0]} sources are not taken; use {KNOWN_SOURCES}"
    return f"{redacted(uri)}: no such file or folder; use {KNOWN_SOURCES}"
