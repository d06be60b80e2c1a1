"""Malformed requests, slow clients and hundreds of connections do not affect other clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from fer_edge.settings.service import WebSettings
from fer_edge.status import SourceState, SourceStatus, StatusBoard
from fer_edge.system.process_memory import resident_mib
from fer_edge.web import WebServer, open_web
from support.web.client import answer_to, ask, connect

LOCAL = WebSettings(True, port=0)


@pytest.fixture
def web() -> Iterator[WebServer]:
    board = StatusBoard()
    now = time.monotonic()
    board.update_source(SourceStatus("cam0", SourceState.WATCHING, now, last_frame_at=now))
    with open_web(LOCAL, board, stale_after_s=3600.0) as web:
        yield web


MALFORMED = (
    b"",
    b"\r\n\r\n",
    b"\x00\xff\x16\x03\x01\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://[bad/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET //////// HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%ff%00%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\nabc",
    b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\nb\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000 + b"\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b'GET / HTTP/1.1\r\nHost: localhost\r\nCookie: =;;;\xff="\r\nAuthorization: Bearer\r\n\r\n',
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200,
)


@pytest.mark.slow
def test_ten_thousand_malformed_requests_do_not_stop_it_or_fill_memory(
    web: WebServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(200):
        answer_to(web, MALFORMED[number % len(MALFORMED)])
    before, threads = resident_mib(), threading.active_count()
    for number in range(10_000):
        answer_to(web, MALFORMED[number % len(MALFORMED)])
    assert ask(web, "/healthz").status == 200
    assert resident_mib() < before + 8
    assert threading.active_count() == threads
    assert capfd.readouterr() == ("", "")  # nothing is logged


def test_slow_clients_do_not_block_others(web: WebServer) -> None:
    slow = []
    try:
        for number in range(300):
            slow.append(connect(web, b"GET / HTTP/1.1\r\nX-" + b"a" * (number % 50)))
        assert ask(web, "/healthz").status == 200
        for connection in slow[-50:]:
            connection.sendall(b"b")
        assert ask(web, "/healthz").status == 200
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"],
    ids=["nothing", "half a line", "no body"],
)
def test_clients_that_never_finish_are_disconnected(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr("fer_edge.web.wsgi_server.MAX_CONNECTION_S", 1.0)
    with open_web(LOCAL, StatusBoard()) as web, connect(web, sent) as connection:
        began = time.monotonic()
        connection.settimeout(0.1)
        while time.monotonic() < began + 20:  # even if it sends a byte now and then
            try:
                connection.sendall(b"x")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        assert 0.5 < time.monotonic() - began < 15


def test_each_connection_carries_one_request(web: WebServer) -> None:
    answer = answer_to(web, b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"\r\nConnection: close\r\n" in answer
