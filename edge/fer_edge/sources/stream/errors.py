"""Diagnose why a stream cannot be opened, because OpenCV reports only that it failed.

The server gets a request of ours (see ``probe``). Its status, a timeout or a refused connection then shows what to do.
Nothing here raises.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

from fer_edge.sources.stream.probe import PORTS, Answer, ask

_DENIED = (401, 403)
_PLAYLISTS = {
    "application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl",
    "application/dash+xml", "application/sdp",
}  # fmt: skip
_PLAYLIST_LINE = re.compile(rb"^(#EXTM3U|ffconcat version|c=IN IP)|<MPD[\s>]", re.MULTILINE)
"""How FFmpeg recognizes HLS, its own lists, SDP and DASH, whatever the content type."""
_REDIRECTS = (301, 302, 303, 307, 308)


class Finding(NamedTuple):
    """Why the stream cannot be opened.

    Attributes:
        problem: The reason.
        location: Where the server redirects to, if it does.
        final: Whether FFmpeg must not try (a playlist) or cannot succeed (no connection).
    """

    problem: str
    location: str | None = None
    final: bool = False


def examine(url: str, timeout_s: float) -> Finding:
    """Return what the server of the stream at ``url`` answers; each step takes at most ``timeout_s``."""
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or PORTS[parts.scheme]}"
    try:
        answer = ask(parts, timeout_s)
    except UnicodeError:  # a label of the host name is empty or too long
        return Finding(f"{parts.hostname} is not a valid host name", final=True)
    except OSError as error:
        return Finding(_connection_problem(error, parts, where, timeout_s), final=True)
    if answer is None:
        return Finding(f"{where} does not speak {parts.scheme.rstrip('s').upper()}")
    location = answer.header("location") if answer.status in _REDIRECTS else None
    return Finding(_meaning(answer, parts), location and urljoin(url, location), _is_playlist(answer))


def _connection_problem(error: OSError, parts: SplitResult, where: str, timeout_s: float) -> str:
    if isinstance(error, socket.gaierror):
        return f"cannot resolve the host name {parts.hostname}; check the name and the network"
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refuses the connection; is the camera's stream enabled, and is the port right?"
    if isinstance(error, TimeoutError):
        return f"no answer from {where} within {timeout_s:g} s; is the address right, and is the camera switched on?"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection to {where}: {error.reason or error}"
    return f"no connection to {where}: {error.strerror or error}"


def _meaning(answer: Answer, parts: SplitResult) -> str:
    status = f"{answer.status} {answer.reason}".strip()
    if answer.status in _DENIED:
        if parts.password is None:
            return f"it requires a user name and password ({status}): {parts.scheme}://user:password@{parts.hostname}/…"
        return f"the user name or password is wrong ({status})"
    if answer.status == 404:
        return f"the server does not have this stream ({status}); check the path"
    if answer.status != 200:
        return f"the server answered {status}"
    kind = _content_type(answer) or "unknown content type"
    if _is_playlist(answer):
        return f"it sends a playlist ({kind}), which may name any host and is not read; use the stream itself"
    return f"it does not send a readable video ({kind})"


def _is_playlist(answer: Answer) -> bool:
    listed = _content_type(answer).lower() in _PLAYLISTS or _PLAYLIST_LINE.search(answer.body) is not None
    return answer.status == 200 and listed


def _content_type(answer: Answer) -> str:
    return (answer.header("content-type") or "").partition(";")[0].strip()
