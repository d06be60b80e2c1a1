"""Keeping passwords out of what is shown."""

from __future__ import annotations

import re

# Up to the last @ before the path; else, for a password that holds a slash, up to the last @ of all, unless a
# port stands there. https://www.rfc-editor.org/rfc/rfc3986#section-3.2
_PASSWORD = re.compile(r"(?<=://)([^:/?#@\s]*):(?:[^/?#\s]*@|(?!\d+(?:[/?#]|$))\S*@)")


def redacted(text: str) -> str:
    """``text`` with the password of each URL in it hidden: ``rtsp://user:***@host/x``. Other text stays as it is."""
    return _PASSWORD.sub(r"\1:***@", text)
