"""Why a stream cannot be opened. OpenCV tells no more than that; so the server is asked once more, by hand.

One request, HTTP's GET or RTSP's DESCRIBE, and where the server wants a password a second one with it (Basic or
Digest, RFC 7617 and RFC 2617): status, silence or a refusal then say what to do. Nothing here raises.
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
_MOST_BYTES = 65536
_DENIED = (401, 403)


class _Answer(NamedTuple):
    status: int
    reason: str
    headers: str


def why_it_cannot_be_opened(url: str, timeout_s: float) -> str:
    """What is wrong with the stream at ``url``, in words; takes ``timeout_s`` for each step at most."""
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
    try:
        answer = _ask(parts, timeout_s)
    except UnicodeError:  # an empty or too long part between its dots
        return f"{parts.hostname} is no host's name"
    except OSError as error:
        return _connection_problem(error, parts, where, timeout_s)
    if answer is None:
        return f"{where} does not speak {parts.scheme.rstrip('s').upper()}"
    return _meaning(answer, parts)


def _connection_problem(error: OSError, parts: SplitResult, where: str, timeout_s: float) -> str:
    if isinstance(error, socket.gaierror):
        return f"there is no host called {parts.hostname}; check the name and the network"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {where}; is the camera's stream switched on, and the port right?"
    if isinstance(error, TimeoutError):
        return f"no answer from {where} within {timeout_s:g} s; is it the right address, and switched on?"
    if isinstance(error, ssl.SSLError):
        return f"no secure connection to {where}: {error.reason or error}"
    return f"no connection to {where}: {error.strerror or error}"


def _meaning(answer: _Answer, parts: SplitResult) -> str:
    told = f"{answer.status} {answer.reason}".strip()
    if answer.status in _DENIED:
        if parts.password is None:
            return f"it wants a user and a password ({told}): {parts.scheme}://user:password@{parts.hostname}/…"
        return f"user or password are wrong ({told})"
    if answer.status == 404:
        return f"the server has no such stream ({told}); check the path"
    if answer.status != 200:
        return f"the server says {told}"
    kind = re.search(r"^content-type:\s*([^;\r\n]+)", answer.headers, re.IGNORECASE | re.MULTILINE)
    return f"no video that can be read comes from it ({kind.group(1).strip() if kind else 'of no known type'})"


def _ask(parts: SplitResult, timeout_s: float) -> _Answer | None:
    answer = _request(parts, timeout_s, "")
    if answer is not None and answer.status == 401 and parts.password is not None:
        return _request(parts, timeout_s, _authorization(parts, answer.headers)) or answer
    return answer


def _request(parts: SplitResult, timeout_s: float, authorization: str) -> _Answer | None:
    """Send one request and read the head of the answer; None when it is none of the protocol. Raises OSError."""
    host, secure = parts.hostname or "", parts.scheme in ("rtsps", "https")
    with socket.create_connection((host, parts.port or _PORTS[parts.scheme]), timeout_s) as plain:
        # FFmpeg does not check certificates, and cameras sign their own; no password goes out that had not gone before.
        context = ssl._create_unverified_context() if secure else None
        connection = context.wrap_socket(plain, server_hostname=host) if context else plain
        method, target, version = _request_line(parts)
        lines = [f"{method} {target} {version}"]
        lines += ["CSeq: 1", "Accept: application/sdp"] if method == "DESCRIBE" else [f"Host: {_netloc(parts)}"]
        lines += [f"Authorization: {authorization}"] if authorization else []
        connection.sendall("\r\n".join([*lines, "", ""]).encode("utf-8", "replace"))
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MOST_BYTES:
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
    """Host and port without user and password."""
    return parts.netloc.rpartition("@")[2]


def _authorization(parts: SplitResult, headers: str) -> str:
    """The header's value for the user and password of the URL, as the server's challenge wants it."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    challenge = re.search(r"^www-authenticate:\s*digest\s+([^\r\n]*)", headers, re.IGNORECASE | re.MULTILINE)
    if challenge is None:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    asked = {key.lower(): value for key, value in re.findall(r'(\w+)="?([^",]*)"?', challenge.group(1))}
    method, target, _ = _request_line(parts)
    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    # RFC 2069's form, which servers take from clients that send no qop.
    response = _md5(f"{_md5(f'{user}:{realm}:{password}')}:{nonce}:{_md5(f'{method}:{target}')}")
    given = {"username": user, "realm": realm, "nonce": nonce, "uri": target, "response": response}
    if "opaque" in asked:
        given["opaque"] = asked["opaque"]
    return "Digest " + ", ".join(f'{key}="{value}"' for key, value in given.items())


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
