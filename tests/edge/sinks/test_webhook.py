"""The webhook with real web servers that fail, reject, redirect, answer slowly, or restart."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest

from fer_edge.errors import ConfigError, OutputError
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.service import WebhookSettings
from fer_edge.sinks import open_sinks
from fer_edge.sinks.event_json import event_to_json
from fer_edge.sinks.webhook import Webhook
from fer_edge.status import SinkStatus, StatusBoard
from support.environments.fresh_install import CHECKOUT
from support.processes.waiting import wait_for
from support.results.events import numbered, numbers_of
from support.servers.http_server import Answers, web_server
from support.servers.loopback import port_of


def settings_for(url: str, **webhook: object) -> RuntimeSettings:
    given = {"url": url, "timeout_s": 1.0, "retry_max_s": 1.0, **webhook}
    return RuntimeSettings(webhook=WebhookSettings(**given))  # type: ignore[arg-type]


def status_of(board: StatusBoard) -> SinkStatus:
    return next(sink for sink in board.snapshot().sinks if sink.name == "webhook")


def test_events_are_posted_as_json_with_the_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    with web_server() as server:
        settings = settings_for(f"{server.url}/hook?room=1", token_file=str(token))
        with open_sinks(settings, StatusBoard(), live=True) as sinks:
            for number in range(5):
                sinks.emit(numbered(number))
        path, headers = server.requests[0]
        assert path == "/hook?room=1"
        assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer s3cret", "application/json")
        assert numbers_of(server.bodies) == list(range(5))
        assert json.loads(server.bodies[0]).keys() == event_to_json(numbered(0)).keys()


@pytest.mark.slow
def test_a_server_that_is_away_and_fails_gets_everything_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    with web_server() as server:
        port = server.port
    board = StatusBoard()
    with open_sinks(settings_for(f"http://me:hunter2@127.0.0.1:{port}/"), board, live=True) as sinks:
        for number in range(10):
            sinks.emit(numbered(number))
        wait_for(lambda: not status_of(board).working)
        assert "Connection refused" in str(status_of(board).problem)
        with web_server(Answers(port, next_statuses=[500, 503, 408, 429])) as server:
            wait_for(lambda: len(server.bodies) == 10)
            assert numbers_of(server.bodies) == list(range(10))
            assert server.requests[0][1]["Authorization"] == "Basic bWU6aHVudGVyMg=="
            # The server has the last one before the answer to it is here.
            wait_for(lambda: status_of(board).sent == 10)
            assert status_of(board).working
        assert status_of(board).dropped == 0
    told = capfd.readouterr().err
    assert "http://me:***@127.0.0.1" in told and "hunter2" not in told
    assert told.splitlines()[-1] == "fer-edge: webhook: works again"


def test_what_is_refused_for_good_is_dropped_counted_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    board = StatusBoard()
    with web_server(Answers(next_statuses=[400, 413])) as server:
        with open_sinks(settings_for(server.url), board, live=True) as sinks:
            for number in range(4):
                sinks.emit(numbered(number))
        assert numbers_of(server.bodies) == [2, 3]
    assert (status_of(board).sent, status_of(board).dropped) == (2, 2)
    assert "rejected an event (HTTP 400), which is dropped" in capfd.readouterr().err


def test_a_token_that_is_refused_for_now_loses_nothing() -> None:
    board = StatusBoard()
    with web_server(Answers(next_statuses=[401, 404])) as server:
        with open_sinks(settings_for(server.url), board, live=True) as sinks:
            sinks.emit(numbered(0))
            wait_for(lambda: status_of(board).sent == 1)
        assert numbers_of(server.bodies) == [0]


def test_a_name_that_cannot_be_a_hosts_is_an_outage() -> None:
    hook = Webhook(WebhookSettings(url="http://home..local/x"))
    with pytest.raises(OutputError, match=r"home\.\.local"):
        hook.send([b"{}"])


def test_a_redirect_is_not_followed() -> None:
    board = StatusBoard()
    with web_server() as elsewhere, web_server(Answers(status=307, location=elsewhere.url)) as server:
        with open_sinks(settings_for(server.url), board, live=True) as sinks:
            sinks.emit(numbered(1))
            wait_for(lambda: "redirects to another address" in str(status_of(board).problem))
            server.status = 200
        assert elsewhere.requests == []
        assert numbers_of(server.bodies) == [1]  # it was queued


def test_a_server_that_drips_is_cut_off_in_time() -> None:
    """Send the answer byte by byte: no single read times out, and the answer never completes."""
    board, stop = StatusBoard(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with suppress(OSError):  # until the client disconnects
                while True:
                    answer(listener.accept()[0])

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):  # the client has disconnected
                connection.recv(65536)  # what stays unread would reset the connection, answer and all
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not stop.wait(0.2):
                    connection.sendall(b".")
                connection.sendall(b"\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=drip, daemon=True).start()
        with open_sinks(settings_for(f"http://127.0.0.1:{port_of(listener)}"), board, live=True) as sinks:
            sinks.emit(numbered(1))
            wait_for(lambda: not status_of(board).working)
            assert status_of(board).sent == 0  # though it looks like an answer
            stop.set()
            wait_for(lambda: status_of(board).sent == 1)


def test_what_is_held_is_bounded() -> None:
    board = StatusBoard()
    with web_server() as server:
        url = server.url
    with open_sinks(settings_for(url, max_queued_events=20), board, live=True) as sinks:
        for number in range(100):
            sinks.emit(numbered(number))
        wait_for(lambda: not status_of(board).working)
        assert (status_of(board).waiting, status_of(board).dropped) == (20, 80)
        with web_server(Answers(server.port)) as server:
            wait_for(lambda: len(server.bodies) == 20)
            assert numbers_of(server.bodies) == list(range(80, 100))


def test_what_can_be_refused_is_refused_at_once(tmp_path: Path) -> None:
    for webhook, problem in (
        ({"url": "http://"}, "webhook.url"),
        ({"url": "http://me:pass word@host/"}, r"webhook.url: http://me"),
        ({"url": "http://host:99999/"}, "webhook.url"),
        ({"url": "http://host/", "token_file": str(tmp_path / "missing")}, "webhook.token_file: cannot read"),
        ({"url": "https://host/", "ca_file": str(tmp_path / "missing")}, "webhook.ca_file: cannot use"),
    ):
        with pytest.raises(ConfigError, match=problem):
            open_sinks(RuntimeSettings(webhook=WebhookSettings(**webhook)), StatusBoard(), live=True)


def test_jsonschema_is_met_by_what_is_posted() -> None:
    schema = json.loads((CHECKOUT / "edge/fer_edge/schema/event.schema.json").read_text())
    with web_server() as server:
        with open_sinks(settings_for(server.url), StatusBoard(), live=False) as sinks:
            sinks.emit(numbered(1))
        jsonschema.Draft202012Validator(schema).validate(json.loads(server.bodies[0]))
