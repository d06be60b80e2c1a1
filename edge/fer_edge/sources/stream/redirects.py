"""Permitted redirects of a camera's server: to its own host, and to those that the settings name.

FFmpeg follows HTTP redirects to any host. FFmpeg 8 has an option against it; before that, the server is asked first.
Playlists (HLS, DASH, SDP) name addresses too, and FFmpeg connects to all of them, so they are not read. OpenCV 4.11.0
passes no options on to its FFmpeg 5 (https://github.com/opencv/opencv/pull/26793), so that only asking first helps.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from urllib.parse import urlsplit, urlunsplit

import cv2

from fer_edge.errors import SourceLostError
from fer_edge.settings.redaction import redacted

MAX_REDIRECTS = 5
"""Redirects of one stream that are followed."""
FFMPEG_OPTIONS = {
    "max_redirects": "0",
    "format_whitelist": "rtsp,mpjpeg,mjpeg,jpeg_pipe,png_pipe,webp_pipe,mpegts,mov,matroska,avi,flv,h264,hevc,m4v,mpeg,"
    "mpegvideo,ogg,asf,av1,obu,ivf,nut,gif",
}
"""Options of FFmpeg. Versions before 8 ignore the first, which none has for RTSP; the second lists the containers of
single streams and films."""
_FIRST_AVFORMAT = 62  # of FFmpeg 8; the option exists in all its versions


def must_ask_first(url: str) -> bool:
    """Return whether FFmpeg itself might follow a redirect of the HTTP server of ``url``, or read its playlist.

    An RTSP server is not asked: one that shares its stream among clients drops the next one while it ends the first.
    """
    return url.lower().startswith("http") and not _ffmpeg_has_option()


def redirected(url: str, location: str, allowed: Collection[str]) -> str:
    """Return the URL to open instead of ``url``, whose server redirects to ``location``.

    User and password are kept for the same host, unless the connection would no longer be encrypted.

    Raises:
        SourceLostError: if it is on a host that is neither that of ``url`` nor one of ``allowed``, or not valid.
    """
    old = urlsplit(url)
    try:
        new = urlsplit(location)
        same_family = new.scheme.removesuffix("s") == old.scheme.removesuffix("s")
        good = same_family and new.hostname and new.port != 0 and location.isprintable() and " " not in location
    except ValueError:
        good = False
    if not good:
        raise SourceLostError(f"{redacted(url)}: the server redirects to an address that is not a valid stream URL")
    host = new.hostname or ""
    if host != old.hostname and host not in {each.lower() for each in allowed}:
        raise SourceLostError(
            f"{redacted(url)}: the server redirects to the host {host}, which is not followed; if it is right, add it"
            " to source.follow_redirects"
        )
    keeps = host == old.hostname and "@" not in new.netloc and (old.scheme == new.scheme or new.scheme.endswith("s"))
    login, at, _ = old.netloc.rpartition("@")
    return urlunsplit(new._replace(netloc=login + at + new.netloc)) if keeps else location


@functools.cache
def _ffmpeg_has_option() -> bool:
    found = re.search(r"avformat:\s+YES \((\d+)\.", cv2.getBuildInformation())
    return found is not None and int(found.group(1)) >= _FIRST_AVFORMAT
