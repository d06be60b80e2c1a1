"""One request to a camera's server, HTTP GET or RTSP DESCRIBE. Of the response, the head and some of the body are read.

A second one is made with credentials if the server requires them (Basic or Digest, RFC 7617 and RFC 2617).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import ssl
import time
from typing import NamedTuple
from urllib.parse import SplitResult, unquote

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Default port of each scheme."""
_MAX_HEAD_BYTES = 65536
_MAX_BODY_BYTES = 2048
"""FFmpeg recognizes a format by so many bytes, or more if these are not enough."""
_BODY_S = 1.0
"""Time limit of the body. The first bytes of a playlist, which is a file, follow the head at once."""


class Answer(NamedTuple):
    """Status, reason phrase, all header lines and the first bytes of the body of a response."""

    status: int
    reason: str
    headers: str
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of the first header with that name."""
        found = re.search(rf"^{name}:[ \t]*([^\r\n]*)", self.headers, re.IGNORECASE | re.MULTILINE)
        return found.group(1).strip() if found else None


def ask(parts: SplitResult, timeout_s: float) -> Answer | None:
    """Return the server's answer to a request for the stream; None if it is not of this protocol.

    Raises:
        OSError: if the connection fails or the server does not answer; each step takes at most ``timeout_s``.
        UnicodeError: if a label of the host name is empty or too long.
    """
    answer = _request(parts, timeout_s)
    if answer is not None and answer.status == 401 and parts.password is not None:
        return _request(parts, timeout_s, _authorization(parts, answer.headers)) or answer
    return answer


def _request(parts: SplitResult, timeout_s: float, authorization: str = "") -> Answer | None:
    """Send one request and read the start of the response; None if it is not of this protocol. Raises OSError."""
    host, secure = parts.hostname or "", parts.scheme in ("rtsps", "https")
    with socket.create_connection((host, parts.port or PORTS[parts.scheme]), timeout_s) as plain:
        # FFmpeg does not check certificates, and cameras use self-signed ones: FFmpeg has already sent the password.
        context = ssl._create_unverified_context() if secure else None
        connection = context.wrap_socket(plain, server_hostname=host) if context else plain
        method, target, version = _request_line(parts)
        lines = [f"{method} {target} {version}"]
        lines += ["CSeq: 1", "Accept: application/sdp"] if method == "DESCRIBE" else [f"Host: {_netloc(parts)}"]
        lines += [f"Authorization: {authorization}"] if authorization else []
        connection.sendall("\r\n".join([*lines, "", ""]).encode("utf-8", "replace"))
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD_BYTES:
            received = connection.recv(4096)
            if not received:
                break
            head += received
        head, _, body = head.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        status = re.match(r"(?:HTTP|RTSP)/\d\.\d (\d{3}) ?([^\r\n]*)", text)
        if status is None:
            return None
        if method == "GET" and status.group(1) == "200":
            body += _receive(connection, _MAX_BODY_BYTES - len(body), min(timeout_s, _BODY_S))
    return Answer(int(status.group(1)), status.group(2)[:60], text, body)


def _receive(connection: socket.socket, count: int, within_s: float) -> bytes:
    """Return up to ``count`` bytes: fewer if the server ends, fails, or sends no more within that time."""
    received, until = b"", time.monotonic() + within_s
    with contextlib.suppress(OSError):
        while len(received) < count and (left_s := until - time.monotonic()) > 0:
            connection.settimeout(left_s)
            more = connection.recv(count - len(received))
            if not more:
                break
            received += more
    return received


def _request_line(parts: SplitResult) -> tuple[str, str, str]:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme.startswith("http"):
        return "GET", path, "HTTP/1.0"
    return "DESCRIBE", f"{parts.scheme}://{_netloc(parts)}{path}", "RTSP/1.0"


def _netloc(parts: SplitResult) -> str:
    """Return host and port without user and password."""
    return parts.netloc.rpartition("@")[2]


def _authorization(parts: SplitResult, headers: str) -> str:
    """Return the header value for the user and password in the URL, in the scheme of the server's challenge."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    challenge = re.search(r"^www-authenticate:\s*digest\s+([^\r\n]*)", headers, re.IGNORECASE | re.MULTILINE)
    if challenge is None:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    asked = {key.lower(): value for key, value in re.findall(r'(\w+)="?([^",]*)"?', challenge.group(1))}
    method, target, _ = _request_line(parts)
    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    # The form of RFC 2069, which servers accept from clients that send no qop.
    response = _md5(f"{_md5(f'{user}:{realm}:{password}')}:{nonce}:{_md5(f'{method}:{target}')}")
    given = {"username": user, "realm": realm, "nonce": nonce, "uri": target, "response": response}
    if "opaque" in asked:
        given["opaque"] = asked["opaque"]
    return "Digest " + ", ".join(f'{key}="{value}"' for key, value in given.items())


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
