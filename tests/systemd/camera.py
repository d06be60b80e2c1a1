"""Program that runs inside the container: a camera's web server that shows the demo scene indefinitely."""

from __future__ import annotations

import itertools
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from fer_edge.sources.demo.source import DemoScene

_FPS = 10
_FROM_S, _TO_S = 2, 12
"""A part of the scene in which the face is visible and changes."""
_SCENE = [
    cv2.imencode(".jpg", DemoScene().render(index / _FPS, index))[1].tobytes()
    for index in range(_FROM_S * _FPS, _TO_S * _FPS)
]


class _Camera(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for picture in itertools.cycle(_SCENE):
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n")
            time.sleep(1 / _FPS)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Camera).serve_forever()
