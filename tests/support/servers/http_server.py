"""A web server on loopback with configurable responses, which records the requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answers:
    """``status`` is the response to each POST, unless ``next_statuses`` contains some for the next ones."""

    port: int = 0
    status: int = 204
    next_statuses: list[int] = field(default_factory=list)
    location: str | None = None
    bodies: list[bytes] = field(default_factory=list)
    """The accepted posts, in order."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers of every request."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def web_server(answers: Answers | None = None) -> Iterator[Answers]:
    """Serve during the block, at the port of ``answers`` if it has one."""
    told = answers or Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.requests.append((self.path, dict(self.headers)))
            status = told.next_statuses.pop(0) if told.next_statuses else told.status
            if status < 300:
                told.bodies.append(body)
            self.send_response(status)
            if told.location is not None:
                self.send_header("Location", told.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", told.port), Handler) as server:
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
