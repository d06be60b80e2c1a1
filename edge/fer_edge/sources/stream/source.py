"""Network streams, RTSP and HTTP(S): MJPEG, H.264 and whatever else FFmpeg decodes, by PyAV or by OpenCV."""

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
from fer_edge.sources.base import DecodedSource, Decoder
from fer_edge.sources.decoders.opencv import OpenCVDecoder
from fer_edge.sources.decoders.pyav import PyAVDecoder, choose_pyav
from fer_edge.sources.file import VideoFileSource
from fer_edge.sources.opening import Unopened
from fer_edge.sources.stream.capture_clock import CaptureClock
from fer_edge.sources.stream.redirects import FFMPEG_OPTIONS, MAX_REDIRECTS, must_ask_first, redirected
from fer_edge.system.opencv_setup import limit_decoder
from fer_edge.types import Frame

if TYPE_CHECKING:
    from fer_edge.sources.stream.errors import Finding

_SCHEME = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)


def open_stream(uri: str, settings: SourceSettings, name: str) -> Unopened | None:
    """Return the stream at an ``rtsp(s)://`` or ``http(s)://`` URL, None for any other URI.

    Raises:
        InputError: if the URL is not valid.
        MissingExtraError: if PyAV is to decode it and is not installed.
    """
    if not _SCHEME.match(uri):
        return None
    check_url(uri)
    return Unopened(partial(_connect, uri, settings, name, by_pyav=choose_pyav(settings.decoder)))


def _connect(uri: str, settings: SourceSettings, name: str, *, by_pyav: bool) -> StreamSource | WebVideoSource:
    """Return the open stream, or a WebVideoSource for a video of finite length on an HTTP server.

    Raises:
        SourceLostError: if nothing readable arrives within ``settings.timeout_s``.
    """
    decoder = _open(uri, settings, by_pyav=by_pyav)
    if not uri.lower().startswith("rtsp") and decoder.frame_count > 0:
        return WebVideoSource(decoder, redacted(uri), settings, name)
    return StreamSource(decoder, redacted(uri), settings, name)


def _open(uri: str, settings: SourceSettings, *, by_pyav: bool) -> Decoder:
    """Return an open decoder of the stream, after the redirects that ``settings`` allow. Raises SourceLostError."""
    url = uri
    for _ in range(MAX_REDIRECTS + 1):
        ask_first = not by_pyav and must_ask_first(url)
        finding = _examine(url, settings.timeout_s) if ask_first else None
        if finding is None or not (finding.location or finding.final):
            decoder = _by_pyav(url, settings) if by_pyav else _by_opencv(url, settings)
            if decoder is not None:
                return decoder
            finding = _examine(url, settings.timeout_s)
        if finding.location is None:
            raise SourceLostError(f"{redacted(url)}: {finding.problem}")
        url = redirected(url, finding.location, settings.follow_redirects)
    raise SourceLostError(f"{redacted(uri)}: the server redirects more than {MAX_REDIRECTS} times; check the path")


def _examine(url: str, timeout_s: float) -> Finding:
    from fer_edge.sources.stream.errors import examine  # imports ssl, which is not needed otherwise

    return examine(url, timeout_s)


def _by_pyav(url: str, settings: SourceSettings) -> Decoder | None:
    options = {"rtsp_transport": "tcp"} if url.lower().startswith("rtsp") else FFMPEG_OPTIONS
    try:
        return PyAVDecoder(url, max_pixels=settings.max_pixels, options=options, timeout_s=settings.timeout_s)
    except OSError:
        return None


def _by_opencv(url: str, settings: SourceSettings) -> Decoder | None:
    limit_decoder(settings.max_pixels)
    # By default OpenCV tries TCP and then UDP, which loses packets in firewalls and on Wi-Fi.
    options = [os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")]
    options += [f"{name};{value}" for name, value in FFMPEG_OPTIONS.items() if name not in options[0]]
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "|".join(options)
    timeout_ms = round(1000 * settings.timeout_s)
    deadlines = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
    # With more threads FFmpeg decodes several frames at once, which delays each of them.
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, [*deadlines, cv2.CAP_PROP_N_THREADS, 1])
    return OpenCVDecoder(capture) if capture.isOpened() else None


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


class StreamSource(DecodedSource):
    """An open stream without an end.

    ``read`` blocks until the next frame, for at most ``settings.timeout_s``; ``NewestFrameSource`` therefore reads it
    in its own thread. ``display_name`` identifies the stream in errors.

    Frames have the monotonic time at which they leave the decoder, because streams do not report when the camera took
    them, less the time by which the stream is behind (``CaptureClock``).
    """

    live = True

    def __init__(self, decoder: Decoder, display_name: str, settings: SourceSettings, name: str) -> None:
        super().__init__(decoder, display_name, settings, name)
        self._timeout_s = settings.timeout_s
        # MJPEG over HTTP has no timestamps, and FFmpeg makes them up: 25 pictures per second.
        untimed = display_name.lower().startswith("http") and decoder.codec == "mjpeg"
        self._clock = None if untimed else CaptureClock()

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame.

        Raises:
            SourceLostError: if the stream ends, breaks off or sends nothing for ``settings.timeout_s``.
        """
        began = time.monotonic()
        picture = self._read_picture()
        now = time.monotonic()
        # When its time is over, FFmpeg may return a picture that it had kept. Its clock may be a little ahead of ours.
        silent = now - began >= 0.95 * self._timeout_s
        if picture is None or silent:
            # Neither decoder reports the reason; the duration shows it.
            reason = f"no data for {now - began:.1f} s" if silent else "the server closed it or is gone"
            raise SourceLostError(f"{self._display_name}: the stream stopped: {reason}")
        at = now if self._clock is None else self._clock.advance(picture.at_s, now)
        return self._frame(at, picture.gray, picture.bgr)


class WebVideoSource(VideoFileSource):
    """An open video of finite length on a web server, which can be gone like a stream."""

    error_type = SourceLostError
