"""The web server over real sockets: content, access control, health, errors."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from fer_edge.errors import ConfigError, FerEdgeError, OutputError, install_command
from fer_edge.settings.service import WebSettings
from fer_edge.settings.source import SourceSettings
from fer_edge.status import SourceState, SourceStatus, StatusBoard
from fer_edge.types import Presence
from fer_edge.web import WebServer, open_web, stale_after
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge
from support.processes.waiting import wait_for
from support.web.client import Answer, answer_to, ask, connect

TOKEN = "correct horse battery staple"
LOCAL = WebSettings(True, port=0)


@pytest.fixture
def board() -> StatusBoard:
    """Return a board with one watching camera."""
    board = StatusBoard()
    now = time.monotonic()
    board.update_source(SourceStatus("cam0", SourceState.WATCHING, now, last_frame_at=now))
    board.set_ready()
    return board


@pytest.fixture
def web(board: StatusBoard) -> Iterator[WebServer]:
    with open_web(LOCAL, board) as web:
        yield web


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(board: StatusBoard, token_file: Path) -> Iterator[WebServer]:
    with open_web(structs.replace(LOCAL, token_file=str(token_file)), board) as web:
        yield web


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_in(web: WebServer, token: str, address: str = "127.0.0.1") -> Answer:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"token={token.replace(' ', '+')}".encode()
    return ask(web, "/login", "POST", form, body, address)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/elements.js", "text/javascript; charset=utf-8"),
        ("/hour.js", "text/javascript; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/api/status", "application/json"),
        ("/api/history", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
    ],
)
def test_every_path_has_its_type_and_security_headers(web: WebServer, path: str, kind: str) -> None:
    answer = ask(web, path)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert len(answer.body) == int(answer.headers["content-length"]) > 0
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; ")
    assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert not [name for name in answer.headers if name.startswith("access-control")]
    head = ask(web, path, "HEAD")
    assert (head.status, head.headers["content-type"], head.body) == (200, kind, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(web: WebServer, method: str) -> None:
    answer = ask(web, "/api/status", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/nothing", "/page/index.html", "/../pyproject.toml", "/%2e%2e/x", "/preview/cam0.jpg", "/%ff"]
)
def test_other_paths_are_not_found(web: WebServer, path: str) -> None:
    assert ask(web, path).status == 404


def test_foreign_host_names_are_refused(web: WebServer, board: StatusBoard) -> None:
    assert ask(web, "/api/status", headers={"Host": "evil.example"}).status == 421
    assert ask(web, "/api/status", headers={"Host": f"127.0.0.1:{web.port}"}).status == 200
    assert ask(web, "/api/status", headers={"Host": ""}).status == 400
    assert b" 400 " in answer_to(web, b"GET / HTTP/1.0\r\n\r\n").splitlines()[0]
    twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert b" 400 " in answer_to(web, twice).splitlines()[0]
    with open_web(structs.replace(LOCAL, allowed_hosts=("status.example",)), board) as other:
        assert ask(other, headers={"Host": "Status.Example:443"}).status == 200


def test_a_port_in_use_is_reported(web: WebServer, board: StatusBoard) -> None:
    with pytest.raises(
        OutputError,
        match=rf"^web.host 127.0.0.1, web.port {web.port}: cannot listen: the port is in use by another program",
    ):
        open_web(structs.replace(LOCAL, port=web.port), board)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a b", "256.1.1.1", "ü" * 70], ids=ascii)
def test_invalid_hosts_are_refused(board: StatusBoard, host: str) -> None:
    with pytest.raises(FerEdgeError, match=r"^(web\.)?host ") as caught:
        open_web(WebSettings(True, host=host, port=0), board)
    assert caught.value.exit_code in (2, 6)


def test_an_address_of_another_machine_is_refused(board: StatusBoard, token_file: Path) -> None:
    with pytest.raises(OutputError, match="cannot listen: Cannot assign requested address"):
        open_web(structs.replace(LOCAL, host="192.0.2.1", token_file=str(token_file)), board)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_public_addresses_need_a_token(board: StatusBoard, host: str) -> None:
    with pytest.raises(ConfigError, match=r"web.token_file, or listen on 127\.0\.0\.1"):
        open_web(structs.replace(LOCAL, host=host), board)


def test_short_tokens_are_refused(board: StatusBoard, token_file: Path) -> None:
    token_file.write_text("geheim\n")
    with pytest.raises(ConfigError, match=r"^web.token_file: .* at least 16 characters: openssl rand"):
        open_web(structs.replace(LOCAL, token_file=str(token_file)), board)
    token_file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_web(structs.replace(LOCAL, token_file=str(token_file)), board)


def test_all_addresses_are_served_with_a_token(board: StatusBoard, token_file: Path) -> None:
    with open_web(structs.replace(LOCAL, host="0.0.0.0", token_file=str(token_file)), board) as web:
        assert web.url == f"http://0.0.0.0:{web.port}/"
        assert ask(web, "/healthz", headers={"Host": "127.0.0.1", **bearer(TOKEN)}).status == 200


def test_ipv6_is_served(board: StatusBoard) -> None:
    try:
        web = open_web(structs.replace(LOCAL, host="::1"), board)
    except OutputError:
        pytest.skip("no IPv6 here")
    with web, socket.create_connection(("::1", web.port), timeout=30) as connection:
        assert web.url == f"http://[::1]:{web.port}/"
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: [::1]:{web.port}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_preview_and_aggregate_privacy_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose one"):
        open_web(structs.replace(LOCAL, preview=True), StatusBoard("aggregate"))


def test_without_the_extra_the_error_names_it() -> None:
    blocked = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'waitress' else real(name, *more)\n"
        "from fer_edge.web import open_web; from fer_edge.status import StatusBoard\n"
        "from fer_edge.settings.service import WebSettings\n"
        "assert not {'waitress', 'prometheus_client'} & set(sys.modules)\n"
        "try: open_web(WebSettings(True), StatusBoard())\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=True)
    assert done.stdout == f"waitress is not installed: {install_command('web')}\n"


def test_close_is_quick_with_open_connections_and_idempotent(board: StatusBoard) -> None:
    web = open_web(LOCAL, board)
    with connect(web, b"GET / HT"), connect(web):
        began = time.monotonic()
        web.close()
        web.close()
        assert time.monotonic() - began < 5
    with pytest.raises(ConnectionRefusedError):
        connect(web)
    with open_web(structs.replace(LOCAL, port=web.port), board):  # the address is available at once
        pass


def test_every_request_needs_the_token(guarded: WebServer) -> None:
    for path in ("/page.js", "/api/status", "/api/history", "/metrics", "/healthz", "/readyz", "/nothing"):
        answer = ask(guarded, path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="fer-edge"')
        assert ask(guarded, path, headers=bearer(TOKEN)).status == (404 if path == "/nothing" else 200)
    assert (ask(guarded).status, ask(guarded).headers["location"]) == (303, "/login")
    assert b"<form" in ask(guarded, "/login").body


def test_browsers_log_in_with_a_form_and_get_a_cookie(guarded: WebServer) -> None:
    answer = log_in(guarded, TOKEN)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie, *rules = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(rules)
    assert TOKEN not in cookie
    assert ask(guarded, "/api/status", headers={"Cookie": f"other=1; {cookie}"}).status == 200
    assert ask(guarded, "/api/status", headers={"Cookie": f"{cookie[:-1]}x"}).status == 401


def test_invalid_forms_are_refused(guarded: WebServer) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers, body in (
        (form, b"token=a&token=b"),
        (form, b"other=1"),
        (form, b"&" * 4000),
        (form, b"\xff" * 100),
        ({"Content-Type": "text/plain"}, f"token={TOKEN}".encode()),
    ):
        assert ask(guarded, "/login", "POST", headers, body).status == 400
    assert ask(guarded, "/login", "POST", form, b"token=" + b"a" * 5000).status == 413


def test_a_wrong_token_a_thousand_times(guarded: WebServer) -> None:
    cookie = log_in(guarded, TOKEN).headers["set-cookie"].partition(";")[0]
    statuses = [ask(guarded, "/api/status", headers=bearer(f"wrong {number}")).status for number in range(1000)]
    assert statuses[:5] == [401] * 5
    assert set(statuses[5:]) == {429}
    refused = ask(guarded, "/api/status", headers=bearer(TOKEN))
    assert refused.status == 429  # a client that guesses must not learn that the token was right
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert log_in(guarded, TOKEN).status == 429
    # From another address the right token works, and existing sessions stay valid.
    assert ask(guarded, "/api/status", headers=bearer(TOKEN), address="127.0.0.2").status == 200
    assert log_in(guarded, TOKEN, "127.0.0.3").status == 303
    assert ask(guarded, "/api/status", headers={"Cookie": cookie}).status == 200


def test_wrong_tokens_from_many_addresses_do_not_lock_others_out(guarded: WebServer) -> None:
    for number in range(200):
        address = f"127.0.{1 + number // 100}.{1 + number % 100}"
        assert ask(guarded, "/healthz", headers=bearer("wrong"), address=address).status == 401
    assert ask(guarded, "/healthz", headers=bearer("wrong"), address="127.0.2.1").status == 429
    assert ask(guarded, "/healthz", headers=bearer(TOKEN), address="127.0.3.1").status == 200


def test_health_detects_a_board_without_updates(board: StatusBoard) -> None:
    with open_web(LOCAL, board, stale_after_s=2.0) as web:
        seen = Presence(1, {"door": 1})
        board.update_source(
            replace(board.source("cam0"), last_frame_at=time.monotonic(), zones=("door",), presence=seen)
        )
        assert ask(web, "/healthz").json() == {"healthy": True, "reasons": []}
        assert ask(web, "/api/status").json()["sources"][0]["present"] == 1
        wait_for(lambda: ask(web, "/healthz").status == 503)  # no frames, while the state is still watching
        answer = ask(web, "/healthz")
        assert (answer.status, answer.json()["healthy"]) == (503, False)
        first, second = answer.json()["reasons"]
        assert first == "no source delivers frames" and second.startswith("cam0: stalled, no frame for ")
        (source,) = ask(web, "/api/status").json()["sources"]
        assert (source["state"], source["fps"], source["faces"], source["present"]) == ("stalled", 0.0, [], 0)
        assert [zone["faces"] for zone in source["zones"]] == [0]
        assert b'fer_edge_source_up{source="cam0"} 0.0\n' in ask(web, "/metrics").body


def test_a_lost_camera_is_a_reason_but_not_unhealthy(web: WebServer, board: StatusBoard) -> None:
    reason = "rtsp://me:secret@door/live: no frame for 10 s"
    board.update_source(SourceStatus("cam1", SourceState.LOST, time.monotonic() - 61, reason, 1, 4))
    answer = ask(web, "/healthz")
    assert answer.status == 200
    assert answer.json()["reasons"] == ["cam1: lost for 61 s: rtsp://me:***@door/live: no frame for 10 s"]
    assert b"secret" not in ask(web, "/api/status").body
    board.update_source(SourceStatus("cam0", SourceState.ENDED, time.monotonic()))
    answer = ask(web, "/healthz")
    assert (answer.status, answer.json()["reasons"][0]) == (503, "no source delivers frames")


def test_a_dark_camera_is_healthy_and_shown_as_dark(web: WebServer, board: StatusBoard) -> None:
    now = time.monotonic()
    board.update_source(SourceStatus("cam0", SourceState.DARK, now - 3600, last_frame_at=now, fps=1.0))
    answer = ask(web, "/healthz")
    assert (answer.status, answer.json()) == (200, {"healthy": True, "reasons": []})
    status = ask(web, "/api/status").json()
    assert (status["sources"][0]["state"], status["sources"][0]["fps"]) == ("dark", 1.0)
    metrics = ask(web, "/metrics").body
    assert b'fer_edge_source_up{source="cam0"} 1.0\n' in metrics
    assert b'fer_edge_source_dark{source="cam0"} 1.0\n' in metrics
    # Without frames it counts as stalled.
    board.update_source(SourceStatus("cam0", SourceState.DARK, now - 3600, last_frame_at=now - 60))
    assert ask(web, "/healthz").json()["reasons"][1] == "cam0: stalled, no frame for 60 s"
    assert b'fer_edge_source_dark{source="cam0"} 0.0\n' in ask(web, "/metrics").body


def test_readiness() -> None:
    board = StatusBoard()
    with open_web(LOCAL, board) as web:
        assert (ask(web, "/readyz").status, ask(web, "/healthz").status) == (503, 503)
        board.set_ready()
        assert (ask(web, "/readyz").status, ask(web, "/readyz").json()["ready"]) == (200, True)


def test_stale_after_follows_from_the_settings() -> None:
    assert stale_after(SourceSettings()) == 15.0
    assert stale_after(SourceSettings(timeout_s=60.0, max_fps=0.1)) == 75.0


def test_the_daemon_serves_the_page_and_reports_a_port_in_use(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[web]\nenabled = true\nport = 0\n")
    process = subprocess.Popen(
        command_line("run", "demo", "--realtime", "--config", config),
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("fer-edge: status page at http://127.0.0.1:")
        web = WebServer("", int(line.rstrip("/\n").rpartition(":")[2]), lambda: None)
        while ask(web, "/healthz").status != 200:
            assert process.poll() is None
            time.sleep(0.1)
        assert ask(web, "/readyz").status == 200
        assert b'fer_edge_frames_total{source="demo"}' in ask(web, "/metrics").body
        config.write_text(f"[web]\nenabled = true\nport = {web.port}\n")
        second = fer_edge("run", "demo", "--realtime", "--config", config, cwd=tmp_path)
        assert_one_line(second, 6, f"web.port {web.port}", "in use")
    finally:
        process.terminate()
        assert process.wait(30) == 0
