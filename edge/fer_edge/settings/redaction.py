"""Redact passwords and tokens in URLs before they are printed or logged."""

from __future__ import annotations

import re
from typing import Any

_PORT = "(?:[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
"""Matches 0 to 65535. A larger number is not a port."""
_IPV6_HOST = r"\[[0-9A-Fa-f:.]*\]"

# The password ends at the last @ before the path. If there is none, the password may contain a slash: then it ends at
# the last @ of the URL, unless the text before the slash is a port. https://www.rfc-editor.org/rfc/rfc3986#section-3.2
_PASSWORD = re.compile(rf"(?<=://)(?!{_IPV6_HOST})([^:/?#@\s]*):(?:[^/?#\s]*@|(?!{_PORT}(?:[/?#]|$))\S*@)")

# A URL with only one slash after the scheme is treated as a file name, which the error message then contains.
_ONE_SLASH = re.compile(r"(?<=\w:/)([^:/@\s]+):[^@\s]*@")
# Many cameras expect the password in the query, http://camera/video.cgi?user=me&loginpas=secret; some expect it in the
# path, rtsp://camera/user=admin_password=secret_channel=1.sdp
_IN_QUERY = re.compile(
    r"(?<=[?&;/_])((?:\w*_)?\w*?(?:pas|pwd|psw|token|key|auth|secret)\w*=)[^&;/#\s'\"]*", re.IGNORECASE
)
_URL = re.compile(r"://\S+")


def redacted(text: str) -> str:
    """Return ``text`` with the password of each URL replaced by ``***``: ``rtsp://user:***@host/x``.

    Values of query parameters such as ``password`` or ``token`` are replaced too: ``http://host/x?pwd=***``. Other text
    is unchanged.

    Part of a password remains visible if it contains an unescaped ``/``, ``?`` or ``#`` after a valid port number
    (``rtsp://user:8080/secret@host``) or after an @ (``rtsp://user:p@ss/secret@host``). Such a URL cannot be
    distinguished from one with an @ in its path, such as ``http://camera:8080/snapshots/me@home.jpg``. The URL does not
    lead to the intended host either. Percent-encoding these characters in the password (%2F for ``/``) fixes both.
    """
    hidden = _ONE_SLASH.sub(r"\1:***@", _PASSWORD.sub(r"\1:***@", text))
    return _URL.sub(lambda url: _IN_QUERY.sub(r"\1***", url.group()), hidden)


def redacted_table(value: Any) -> Any:
    """Return ``value``, nested tables and lists such as those of TOML, with each of its strings ``redacted``."""
    if isinstance(value, dict):
        return {key: redacted_table(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_table(item) for item in value]
    return redacted(value) if isinstance(value, str) else value
