"""Keeping passwords out of what is shown."""

from __future__ import annotations

import re

_PORT = "(?:[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
"""0 to 65535: digits beyond that are no port."""
_IPV6_HOST = r"\[[0-9A-Fa-f:.]*\]"

# Up to the last @ before the path; else, for a password that holds a slash, up to the last @ of all, unless a
# port stands there. https://www.rfc-editor.org/rfc/rfc3986#section-3.2
_PASSWORD = re.compile(rf"(?<=://)(?!{_IPV6_HOST})([^:/?#@\s]*):(?:[^/?#\s]*@|(?!{_PORT}(?:[/?#]|$))\S*@)")


# A URL that lacks one of its slashes is no URL, and is shown as a file that is not there.
_ONE_SLASH = re.compile(r"(?<=\w:/)([^:/@\s]+):[^@\s]*@")
# Many cameras take the password in the query, http://camera/video.cgi?user=me&loginpas=secret, some in the path:
# rtsp://camera/user=admin_password=secret_channel=1.sdp
_IN_QUERY = re.compile(
    r"(?<=[?&;/_])((?:\w*_)?\w*?(?:pas|pwd|psw|token|key|auth|secret)\w*=)[^&;/#\s'\"]*", re.IGNORECASE
)
_URL = re.compile(r"://\S+")


def redacted(text: str) -> str:
    """``text`` with the password of each URL in it hidden: ``rtsp://user:***@host/x``. Other text stays as it is.

    So are a query's ``password``, ``token`` and the like: ``http://host/x?pwd=***``.

    A part of a password may stay where the rules for URLs read it as a path with an @ in it, as in
    ``http://camera:8080/snapshots/me@home.jpg``: after a slash, ? or # that follows digits good for a port
    (``rtsp://user:8080/secret@host``) or an @ (``rtsp://user:p@ss/secret@host``). Nothing tells the two apart. The
    host meant is not found either; with such marks written as %2F and the like it is, and all is hidden.
    """
    hidden = _ONE_SLASH.sub(r"\1:***@", _PASSWORD.sub(r"\1:***@", text))
    return _URL.sub(lambda url: _IN_QUERY.sub(r"\1***", url.group()), hidden)
