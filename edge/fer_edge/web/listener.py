"""waitress, within limits that hold on a small computer whoever asks.

This module needs waitress (extra ``web``). What waitress leaves open, and why it is closed here: a client that sends a
byte now and then, or takes no answer, would hold its connection for ever (it counts from the last byte, by the wall
clock); a full house would keep everybody else out; requests sent ahead in one connection would have their answers made
and held in memory.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer, TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from fer_edge.system.messages import print_message
from fer_edge.web.application import MOST_BODY

LONGEST_S = 20.0
"""What a connection may take from its first byte to its last, seconds."""
MOST_CONNECTIONS = 64
"""Connections that are held; for the next one the oldest is closed."""
_THREADS = 2
_MOST_HEADER = 8192
_LOOK_S = 0.5
_CLOSE_S = 3


class _OneRequest(HTTPRequestParser):
    def received(self, data: bytes) -> int:
        """Take in ``data``; what follows the request is thrown away."""
        taken = super().received(data)
        return len(data) if self.completed else taken


class _LastTask(WSGITask):
    def execute(self) -> None:
        """Answer, and close the connection."""
        self.set_close_on_finish()
        super().execute()


class _RefusedTask(ErrorTask):
    def execute(self) -> None:
        """Answer a request that cannot be read. A browser must not take the answer for anything but text."""
        self.response_headers = [*self.response_headers, ("X-Content-Type-Options", "nosniff")]
        super().execute()


class _Channel(HTTPChannel):
    parser_class = _OneRequest
    task_class = _LastTask
    error_task_class = _RefusedTask

    def __init__(
        self,
        server: BaseWSGIServer,
        sock: socket.socket,
        addr: tuple[Any, ...],
        adj: Adjustments,
        map: dict[int, Any] | None = None,
    ) -> None:
        self.began = time.monotonic()
        super().__init__(server, sock, addr, adj, map)


class _Server(TcpWSGIServer):
    channel_class = _Channel

    def readable(self) -> bool:
        """Whether to wait for new connections: always."""
        return True

    def handle_accept(self) -> None:
        """Take a new connection, in place of the oldest one where there are too many."""
        channels = self._channels()
        if len(channels) >= MOST_CONNECTIONS:
            min(channels, key=lambda channel: channel.began).handle_close()
        super().handle_accept()

    def end_old_connections(self) -> None:
        """Close those whose time is up; call it in the thread that serves."""
        oldest = time.monotonic() - LONGEST_S
        for channel in self._channels():
            if channel.began < oldest:
                channel.handle_close()

    def _channels(self) -> list[_Channel]:
        return list(self.active_channels.values())  # type: ignore[attr-defined]  # a dict, whatever its stub says


class Listener:
    """Serves ``application`` on ``bound``, a socket that listens already, from threads of its own."""

    def __init__(self, application: WSGIApplication, bound: socket.socket) -> None:
        # Every request that cannot be read would be a line in the journal; our own errors are told elsewhere.
        logging.getLogger("waitress").setLevel(logging.CRITICAL + 1)
        adjustments = Adjustments(
            sockets=[bound],
            threads=_THREADS,
            ident=None,
            backlog=128,
            recv_bytes=4096,
            # Beyond that it goes into a temporary file; no picture is ever written to one.
            outbuf_overflow=2**30,
            max_request_header_size=_MOST_HEADER,
            max_request_body_size=MOST_BODY,
        )
        self._map: dict[int, socket.socket] = {}  # of waitress' objects, whatever its stubs say
        self._dispatcher = ThreadedTaskDispatcher()
        self._dispatcher.set_thread_count(adjustments.threads)
        self._server = _Server(
            application,
            self._map,
            _sock=bound,
            dispatcher=self._dispatcher,
            adj=adjustments,
            sockinfo=(bound.family, bound.type, bound.proto, bound.getsockname()),
            bind_socket=False,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="status page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, close every connection and end the threads, within some seconds."""
        # Set by the thread that serves: set here, it may have closed the trigger's pipe before the byte is written.
        self._server.trigger.pull_trigger(self._stop.set)  # type: ignore[attr-defined]  # no int, whatever its stub says
        self._thread.join(_CLOSE_S)

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                self._server.end_old_connections()
                wasyncore.loop(timeout=_LOOK_S, use_poll=True, map=self._map, count=1)
            except Exception as error:  # noqa: BLE001 - it must go on serving; a connection's own errors never get here
                print_message(f"status page: {type(error).__name__}: {error}")
                self._stop.wait(_LOOK_S)
        wasyncore.close_all(self._map, ignore_all=True)
        self._dispatcher.shutdown(timeout=_CLOSE_S)
