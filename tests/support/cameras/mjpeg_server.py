"""A camera's web server on loopback: MJPEG over HTTP, valid or with the faults of real cameras."""

from __future__ import annotations

import base64
import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from fer_edge.types import UInt8Array
from support.cameras.scenes import demo_frames
from support.processes.edge_command import FACE_AT_S

USER, PASSWORD = "viewer", "pass-7+word"
FPS = 10.0


@dataclass
class MjpegServer:
    """``/stream`` is endless, ``/short`` ends after five frames, ``/stall`` stalls after five, ``/page`` is HTML,
    ``/private`` is ``/stream`` with a password (Basic), ``/film.mp4`` is ``film``, ``/silent`` never answers.
    ``/moved`` redirects to ``moved_to``.
    ``/moody`` is as ``mood`` says: ``well`` as ``/stream``, ``black`` pictures, one ``frozen`` picture, or ``silent``.
    """

    port: int
    asked: list[str] = field(default_factory=list)
    film: Path | None = None
    mood: str = "well"
    moved_to: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, login: str = "") -> str:
        """The URL of a path; ``login`` is ``user:password@``."""
        return f"http://{login}127.0.0.1:{self.port}/{path}"


@contextlib.contextmanager
def mjpeg_server(film: Path | None = None, port: int = 0) -> Iterator[MjpegServer]:
    """Serve until the block ends; open streams are then interrupted. ``port`` 0 takes a free one."""
    http = _Http(("127.0.0.1", port), _Camera)
    server = http.camera = MjpegServer(http.server_address[1], film=film)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()


def _pictures() -> list[bytes]:
    return [_encoded(frame.gray) for frame, _ in demo_frames(FACE_AT_S, FACE_AT_S + 0.5, fps=FPS)]


def _encoded(gray: UInt8Array) -> bytes:
    return cv2.imencode(".jpg", gray)[1].tobytes()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    camera: MjpegServer


class _Camera(BaseHTTPRequestHandler):
    server: _Http
    pictures: ClassVar[list[bytes]] = []

    def do_GET(self) -> None:
        here = self.server.camera
        path = self.path.strip("/")
        here.asked.append(path)
        answers = {
            "stream": self._stream,
            "short": lambda: self._stream(frames=5),
            "stall": lambda: self._stream(frames=5, then_wait=True),
            "private": self._private,
            "moody": self._moody,
            "moved": self._redirect,
            "silent": lambda: here.closing.wait(60),
            "page": lambda: self._send("text/html", b"<html>Camera</html>"),
        }
        if path == "film.mp4" and here.film is not None:
            with contextlib.suppress(OSError):
                self._send("video/mp4", here.film.read_bytes())
        elif path in answers:
            with contextlib.suppress(OSError):  # the reader is gone
                answers[path]()
        else:
            self.send_error(404)

    def _redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.server.camera.moved_to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _private(self) -> None:
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {login}":
            self._stream()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        self.end_headers()

    def _send(self, kind: str, body: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))  # readers of a film seek to its index
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", kind)
        if wanted:
            start, whole = int(wanted.group(1)), len(body)
            body = body[start:]
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, frames: int | None = None, *, then_wait: bool = False) -> None:
        closing = self.server.camera.closing
        pictures = self._begin_stream()
        sent = 0
        while (frames is None or sent < frames) and not closing.wait(1 / FPS):
            self._send_picture(pictures[sent % len(pictures)])
            sent += 1
        if then_wait:
            closing.wait(60)

    def _moody(self) -> None:
        here = self.server.camera
        pictures = self._begin_stream()
        black = _encoded(np.zeros((480, 640), np.uint8))
        sent = 0
        while not here.closing.wait(1 / FPS):
            moods = {"well": pictures[sent % len(pictures)], "black": black, "frozen": pictures[0]}
            if here.mood in moods:
                self._send_picture(moods[here.mood])
                sent += 1

    def _begin_stream(self) -> list[bytes]:
        if not _Camera.pictures:
            _Camera.pictures = _pictures()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        return _Camera.pictures

    def _send_picture(self, picture: bytes) -> None:
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        self.wfile.write(head.encode() + picture + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
