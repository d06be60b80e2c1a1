"""Network streams, RTSP and HTTP(S), through OpenCV and FFmpeg: MJPEG, H.264 and whatever else FFmpeg decodes."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cv2

from fer_edge.errors import InputError, SourceLostError
from fer_edge.protocols import NoFrame
from fer_edge.settings.redaction import redacted
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import CaptureSource
from fer_edge.sources.file import VideoFileSource
from fer_edge.sources.opening import Unopened
from fer_edge.sources.stream.capture_clock import CaptureClock
from fer_edge.sources.stream.redirects import FFMPEG_OPTION, MAX_REDIRECTS, must_ask_first, redirected
from fer_edge.system.opencv_setup import limit_decoder
from fer_edge.types import Frame

if TYPE_CHECKING:
    from fer_edge.sources.stream.errors import Finding

_SCHEME = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)


def open_stream(uri: str, settings: SourceSettings, name: str) -> Unopened | None:
    """Return the stream at an ``rtsp(s)://`` or ``http(s)://`` URL, None for any other URI.

    Raises:
        InputError: if the URL is not valid.
    """
    if not _SCHEME.match(uri):
        return None
    check_url(uri)
    return Unopened(partial(_connect, uri, settings, name))


def _connect(uri: str, settings: SourceSettings, name: str) -> StreamSource | WebVideoSource:
    """Return the open stream, or a WebVideoSource for a video of finite length on an HTTP server.

    Raises:
        SourceLostError: if nothing readable arrives within ``settings.timeout_s``.
    """
    limit_decoder(settings.max_pixels)
    capture = _open(uri, settings)
    has_end = not uri.lower().startswith("rtsp") and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    if has_end:
        return WebVideoSource(capture, redacted(uri), settings, name)
    return StreamSource(capture, redacted(uri), settings, name)


def _open(uri: str, settings: SourceSettings) -> cv2.VideoCapture:
    """Return an open capture of the stream, after the redirects that ``settings`` allow. Raises SourceLostError."""
    url = uri
    for _ in range(MAX_REDIRECTS + 1):
        location = _examine(url, settings.timeout_s).location if must_ask_first(url) else None
        if location is None:
            capture = _capture(url, settings.timeout_s)
            if capture.isOpened():
                return capture
            problem, location = _examine(url, settings.timeout_s)
            if location is None:
                raise SourceLostError(f"{redacted(url)}: {problem}")
        url = redirected(url, location, settings.follow_redirects)
    raise SourceLostError(f"{redacted(uri)}: the server redirects more than {MAX_REDIRECTS} times; check the path")


def _examine(url: str, timeout_s: float) -> Finding:
    from fer_edge.sources.stream.errors import examine  # imports ssl, which is not needed otherwise

    return examine(url, timeout_s)


def _capture(url: str, timeout_s: float) -> cv2.VideoCapture:
    # By default OpenCV tries TCP and then UDP, which loses packets in firewalls and on Wi-Fi.
    options = os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    if "max_redirects" not in options:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"{options}|{FFMPEG_OPTION}"
    timeout_ms = round(1000 * timeout_s)
    deadlines = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
    # With more threads FFmpeg decodes several frames at once, which delays each of them.
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, [*deadlines, cv2.CAP_PROP_N_THREADS, 1])


def check_url(url: str) -> None:
    """Check that ``url`` has a host and a valid port, and no blanks or control characters.

    Raises:
        InputError: if it does not.
    """
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        shown = redacted("%20".join(url.split()))  # a blank would end the password before its @
        raise InputError(f"{shown}: not a valid stream URL; write rtsp://user:password@host:554/path")


class StreamSource(CaptureSource):
    """An open stream without an end.

    ``read`` blocks until the next frame, for at most ``settings.timeout_s``; ``NewestFrameSource`` therefore reads it
    in its own thread. ``display_name`` identifies the stream in errors.

    Frames have the monotonic time at which they leave the decoder, because streams do not report when the camera took
    them, less the time by which the stream is behind (``CaptureClock``).
    """

    live = True

    def __init__(self, capture: cv2.VideoCapture, display_name: str, settings: SourceSettings, name: str) -> None:
        super().__init__(capture, display_name, settings, name)
        self._timeout_s = settings.timeout_s
        self._clock = None if _has_made_up_times(capture, display_name) else CaptureClock()

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame.

        Raises:
            SourceLostError: if the stream ends, breaks off or sends nothing for ``settings.timeout_s``.
        """
        began = time.monotonic()
        gray = self._read_gray()
        now = time.monotonic()
        # When its time is over, FFmpeg may return a picture that its decoder had kept.
        if gray is None or now - began >= self._timeout_s:
            silent = now - began >= 0.9 * self._timeout_s  # OpenCV does not report the reason; the duration shows it
            reason = f"no data for {now - began:.1f} s" if silent else "the server closed it or is gone"
            raise SourceLostError(f"{self._display_name}: the stream stopped: {reason}")
        if self._clock is None:
            return self._frame(now, gray)
        return self._frame(self._clock.advance(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, now), gray)


def _has_made_up_times(capture: cv2.VideoCapture, url: str) -> bool:
    """Return whether the timestamps are FFmpeg's own, 25 pictures per second: of MJPEG over HTTP, which has none."""
    return url.lower().startswith("http") and int(capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG")


class WebVideoSource(VideoFileSource):
    """An open video of finite length on a web server, which can be gone like a stream."""

    error_type = SourceLostError
