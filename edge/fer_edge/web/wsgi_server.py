"""Run waitress in a thread, with the limits that a small device needs. Needs the extra ``web``.

The limits of waitress on header and body size are sufficient. Three limits are added here because measurements showed
that waitress lacks them:

- The total time of a connection. waitress counts from the last byte, so a client that sends one byte now and then
  keeps its connection indefinitely.
- A full server accepts new clients: the oldest connection is closed. waitress stops accepting at its limit, so that
  300 slow clients delayed the next one by 12 s with a timeout of 3 s.
- One request per connection. waitress prepares the answers to all requests that a client sends ahead: 40 clients that
  did not read their answers took 364 MiB.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from functools import partial
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import WSGITask

from fer_edge.web.application import MAX_BODY_BYTES

MAX_CONNECTION_S = 20.0
_MAX_CONNECTIONS = 64
_MAX_HEADER_BYTES = 8192
_CLOSE_TIMEOUT_S = 3


class _SingleRequestTask(WSGITask):
    def execute(self) -> None:
        """Answer the request and close the connection."""
        self.set_close_on_finish()
        super().execute()


class _Channel(HTTPChannel):
    task_class = _SingleRequestTask


class _Server(TcpWSGIServer):
    channel_class = _Channel

    def handle_accept(self) -> None:
        """Accept a connection; if there are too many, close the oldest."""
        channels = self._oldest_first()
        if len(channels) >= _MAX_CONNECTIONS:
            channels[0].handle_close()
        super().handle_accept()

    def maintenance(self, now: float) -> None:
        """Close connections older than ``MAX_CONNECTION_S``; waitress calls this every ``cleanup_interval`` seconds."""
        for channel in self._oldest_first():
            if channel.creation_time < now - MAX_CONNECTION_S:
                channel.handle_close()

    def _oldest_first(self) -> list[HTTPChannel]:
        return list(self.active_channels.values())  # type: ignore[attr-defined]  # a dict, declared as a channel


class WsgiServer:
    """Serve ``application`` on ``listening``, a listening socket, until ``close()``."""

    def __init__(self, application: WSGIApplication, listening: socket.socket) -> None:
        # waitress logs each malformed request, which would fill the journal. The application reports its own errors.
        logging.getLogger("waitress").setLevel(logging.CRITICAL + 1)
        adjustments = Adjustments(
            sockets=[listening],
            threads=2,
            ident=None,
            connection_limit=2 * _MAX_CONNECTIONS,  # never reached: see handle_accept
            cleanup_interval=1,
            asyncore_use_poll=True,
            outbuf_overflow=2**30,  # a larger answer would go to a temporary file, and camera images must not
            max_request_header_size=_MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
        )
        self._sockets: dict[int, Any] = {}
        self._server = _Server(
            application,
            self._sockets,
            _sock=listening,
            adj=adjustments,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )
        self._thread = threading.Thread(target=self._server.run, name="status page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the listening socket and all connections, and end the threads; takes at most a few seconds."""
        close_all = partial(wasyncore.close_all, self._sockets, ignore_all=True)
        # The serving thread closes the sockets: its loop ends when it has none left. It may have closed the trigger's
        # pipe already, because another thread woke it.
        with contextlib.suppress(OSError):
            self._server.trigger.pull_trigger(close_all)  # type: ignore[attr-defined]  # declared as an int
        self._thread.join(_CLOSE_TIMEOUT_S)
        self._server.task_dispatcher.shutdown(timeout=_CLOSE_TIMEOUT_S)
