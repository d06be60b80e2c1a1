"""Streams from the network, RTSP and HTTP(S), through OpenCV and FFmpeg: MJPEG, H.264 and what else FFmpeg reads."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from urllib.parse import urlsplit

import cv2

from fer_edge.errors import InputError, SourceLostError
from fer_edge.protocols import ClosingSource, NoFrame
from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import SourceSettings
from fer_edge.sources.opencv import GrayReader, VideoFileSource, told_fps
from fer_edge.sources.opening import Unopened
from fer_edge.types import Frame

_SCHEME = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)


def open_stream(uri: str, settings: SourceSettings, name: str) -> Unopened | None:
    """The stream behind an ``rtsp(s)://`` or ``http(s)://`` URL, None for any other URI.

    Raises InputError for what is no URL.
    """
    if not _SCHEME.match(uri):
        return None
    check_url(uri)
    return Unopened(partial(_connect, uri, settings, name))


def _connect(uri: str, settings: SourceSettings, name: str) -> StreamSource | VideoFileSource:
    """The open stream; a film on an HTTP server, which has an end, is read like a file, none of its frames dropped.

    Raises SourceLostError when nothing that can be read comes within ``settings.timeout_s``.
    """
    # OpenCV asks for TCP by itself, but goes on to UDP, of which firewalls and Wi-Fi lose a part.
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    timeout_ms = round(1000 * settings.timeout_s)
    deadlines = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
    # With more threads FFmpeg decodes several frames at once, and so tells each of them later.
    capture = cv2.VideoCapture(uri, cv2.CAP_FFMPEG, [*deadlines, cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        from fer_edge.sources.stream.errors import why_it_cannot_be_opened  # brings ssl, which is of use here alone

        raise SourceLostError(f"{redacted(uri)}: {why_it_cannot_be_opened(uri, settings.timeout_s)}")
    has_end = not uri.lower().startswith("rtsp") and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    if has_end:
        return VideoFileSource(capture, redacted(uri), settings, name, SourceLostError)
    return StreamSource(capture, redacted(uri), settings, name)


def check_url(url: str) -> None:
    """Raises InputError for a URL without a host, with a port that is none, or with blanks or control characters."""
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        shown = redacted("%20".join(url.split()))  # a blank would end the password before its @
        raise InputError(f"{shown}: not a URL of a stream; write rtsp://user:password@host:554/path")


class StreamSource(ClosingSource):
    """An open stream without an end; ``called`` names it in errors.

    ``read`` blocks for the next frame, for ``settings.timeout_s`` at most, and stamps it with the monotonic clock as
    it comes out of the decoder: when the camera took it no stream tells reliably. ``NewestFrameSource`` stands
    between it and the pipeline.
    """

    live = True
    dropped = 0

    def __init__(self, capture: cv2.VideoCapture, called: str, settings: SourceSettings, name: str) -> None:
        self.name = name
        self.fps = told_fps(capture, settings)
        self._capture, self._called = capture, called
        self._pictures = GrayReader(capture)
        self._timeout_s = settings.timeout_s
        self._index = 0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame. Raises SourceLostError when the stream ends, breaks off or falls silent."""
        began = time.monotonic()
        gray = self._pictures.read()
        now = time.monotonic()
        if gray is None:
            silent = now - began >= 0.9 * self._timeout_s  # OpenCV does not tell why, but how long it took
            reason = f"nothing came for {now - began:.1f} s" if silent else "its server ended it, or is gone"
            raise SourceLostError(f"{self._called}: the stream stopped: {reason}")
        frame = Frame(self.name, self._index, now, gray)
        self._index += 1
        return frame

    def close(self) -> None:
        """Let go of the connection."""
        self._capture.release()
