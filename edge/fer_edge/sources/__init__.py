"""Where frames come from: ``open_source`` chooses by URI; each kind of source is one file.

To add a source: write one new file with a class that fits ``base.FrameSource``, and add one line to ``_OPENERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fer_edge.config import SourceSettings
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.redaction import redacted
from fer_edge.sources import folder, opencv, synthetic
from fer_edge.sources.base import FrameSource, NoFrame
from fer_edge.sources.newest import NewestFrameSource

_OPENERS: tuple[Callable[[str, SourceSettings, str], FrameSource | None], ...] = (
    synthetic.open_demo,
    opencv.open_camera,
    folder.open_images,
    opencv.open_video,
)
"""Asked in this order; the first that does not answer None has the URI."""

__all__ = ["FrameSource", "NoFrame", "open_source", "source_names"]


def open_source(uri: str, settings: SourceSettings, *, realtime: bool = False, name: str | None = None) -> FrameSource:
    """The source behind ``uri``: ``demo``, a video or image file, a folder of images, ``0`` or ``/dev/video0``.

    ``realtime`` paces a file as a camera would, the newest frame winning; a camera is always so. ``name`` is what
    frames and events are marked with (default: see ``source_names``). Raises InputError for what is missing or
    cannot be used, SourceLostError for a camera that cannot be opened.
    """
    source = _open(uri, settings, name or source_names([uri])[0])
    if source.live:
        return NewestFrameSource(source, lost_after_s=opencv.CAMERA_SILENCE_S)
    return NewestFrameSource(source, paced=True) if realtime else source


def source_names(uris: Sequence[str]) -> list[str]:
    """A short name for each URI: the file's or folder's own, ``video0`` for a camera; ``-2`` and so on for equals."""
    names: list[str] = []
    for uri in uris:  # without passwords: names stand in events, logs and file names
        index = opencv.camera_index(uri)
        base = (Path(redacted(uri)).absolute().name or uri) if index is None else f"video{index}"
        same = sum(name == base or name.startswith(f"{base}-") for name in names)
        names.append(base if not same else f"{base}-{same + 1}")
    return names


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
    known = "use demo, a video or image file, a folder of images, 0 or /dev/video0"
    if uri == "picamera2" or "://" in uri:
        return f"{redacted(uri)}: this version does not take {uri.partition('://')[0]} sources; {known}"
    return f"{uri}: no such file or folder; {known}"
