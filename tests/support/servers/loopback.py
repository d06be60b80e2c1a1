"""Ports on loopback that do not serve a stream."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

_HELD: list[socket.socket] = []


@contextlib.contextmanager
def silent_server() -> Iterator[socket.socket]:
    """Yield a listener that accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    """The port of a listener."""
    return int(listener.getsockname()[1])


def free_port() -> int:
    """Return a port on which nothing listens. It stays bound in this process, so no other program gets it."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    _HELD.append(held)
    return port_of(held)
