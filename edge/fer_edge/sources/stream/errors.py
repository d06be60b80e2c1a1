"""Diagnose why a stream cannot be opened, because OpenCV reports only that it failed.

The server gets one request, HTTP GET or RTSP DESCRIBE, and a second one with credentials if it requires them (Basic or
Digest, RFC 7617 and RFC 2617). Its status, a timeout or a refused connection then shows what to do. Nothing here
raises.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import ssl
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_MAX_HEAD_BYTES = 65536
_DENIED = (401, 403)


class _Answer(NamedTuple):
    status: int
    reason: str
    headers: str


def explain_failure(url: str, timeout_s: float) -> str:
    """Return why the stream at ``url`` cannot be opened; each step takes at most ``timeout_s``."""
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
    try:
        answer = _request(parts, timeout_s)
        if answer is not None and answer.status == 401 and parts.password is not None:
            answer = _request(parts, timeout_s, _authorization(parts, answer.headers)) or answer
    except UnicodeError:  # a label of the host name is empty or too long
        return f"{parts.hostname} is not a valid host name"
    except OSError as error:
        return _connection_problem(error, parts, where, timeout_s)
    if answer is None:
        return f"{where} does not speak {parts.scheme.rstrip('s').upper()}"
    return _meaning(answer, parts)


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


def _meaning(answer: _Answer, parts: SplitResult) -> str:
    status = f"{answer.status} {answer.reason}".strip()
    if answer.status in _DENIED:
        if parts.password is None:
            return f"it requires a user name and password ({status}): {parts.scheme}://user:password@{parts.hostname}/…"
        return f"the user name or password is wrong ({status})"
    if answer.status == 404:
        return f"the server does not have this stream ({status}); check the path"
    if answer.status != 200:
        return f"the server answered {status}"
    kind = re.search(r"^content-type:\s*([^;\r\n]+)", answer.headers, re.IGNORECASE | re.MULTILINE)
    return f"it does not send a readable video ({kind.group(1).strip() if kind else 'unknown content type'})"


def _request(parts: SplitResult, timeout_s: float, authorization: str = "") -> _Answer | None:
    """Send one request and read the head of the response; None if it is not of this protocol. Raises OSError."""
    host, secure = parts.hostname or "", parts.scheme in ("rtsps", "https")
    with socket.create_connection((host, parts.port or _PORTS[parts.scheme]), timeout_s) as plain:
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
    text = head.partition(b"\r\n\r\n")[0].decode("latin-1")
    status = re.match(r"(?:HTTP|RTSP)/\d\.\d (\d{3}) ?([^\r\n]*)", text)
    return _Answer(int(status.group(1)), status.group(2)[:60], text) if status else None


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
