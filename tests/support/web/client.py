"""A client of the status page for valid and invalid requests."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fer_edge.web import WebServer


@dataclass(frozen=True)
class Answer:
    """A response: status, headers (names in lowercase), body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


def ask(
    web: WebServer,
    path: str = "/",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    address: str = "127.0.0.1",
) -> Answer:
    """Send a request from the loopback address ``address`` (127.x.x.x)."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30, source_address=(address, 0))
    try:
        connection.request(method, path, body, {"Host": "localhost", **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def connect(web: WebServer, data: bytes = b"") -> socket.socket:
    """Open a connection and send ``data``."""
    connection = socket.create_connection(("127.0.0.1", web.port), timeout=30)
    connection.sendall(data)
    return connection


def answer_to(web: WebServer, data: bytes) -> bytes:
    """Send ``data``, close the sending side, and return everything received."""
    with connect(web) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            parts = []
            while part := connection.recv(65_536):
                parts.append(part)
        except OSError:  # the server closed the connection with unread data
            return b""
        return b"".join(parts)
