"""MQTT login by password and certificate, with a real broker."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fer_edge.errors import ConfigError
from fer_edge.sinks import open_sinks
from fer_edge.status import StatusBoard
from support.processes.waiting import wait_for
from support.results.events import numbered
from support.servers.mosquitto import Broker, needs_mosquitto, settings_for, status_of

ROOT = "fer-edge/pi"
EVENTS = f"{ROOT}/cam0/events"


@needs_mosquitto
def test_passwords(tmp_path: Path) -> None:
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "pi", "right"], check=True)
    server = Broker(tmp_path, "allow_anonymous false", f"password_file {users}")
    server.start()
    try:
        secret = tmp_path / "password"
        for password, works in (("wrong", False), ("right", True)):
            secret.write_text(password + "\n")
            secret.chmod(0o600)
            board = StatusBoard()
            settings = settings_for(server.port, username="pi", password_file=str(secret))
            with open_sinks(settings, board, live=True) as sinks:
                sinks.emit(numbered(1))
                if works:
                    wait_for(lambda: status_of(board).sent == 1)  # noqa: B023
                else:
                    wait_for(lambda: "refuses the connection: Not auth" in str(status_of(board).problem))  # noqa: B023
            assert "wrong" not in str(status_of(board))
    finally:
        server.stop()


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with ca.pem, another-ca.pem, and NAME.pem and NAME.key for localhost and a client."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    folder = tmp_path / "certificates"
    folder.mkdir()
    for name in ("ca", "another-ca"):
        new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        openssl(*new, "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name in ("localhost", "client"):
        key, request = folder / f"{name}.key", folder / "request"
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        sign = ["x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-days", "2"]
        openssl(*sign, "-CAcreateserial", "-extfile", folder / "names", "-out", folder / f"{name}.pem")
        key.chmod(0o600)
    return folder


@needs_mosquitto
def test_tls_with_client_certificate(tmp_path: Path, certificates: Path) -> None:
    lines = [f"cafile {certificates}/ca.pem", f"certfile {certificates}/localhost.pem"]
    lines += [f"keyfile {certificates}/localhost.key", "require_certificate true", "use_identity_as_username true"]
    server = Broker(tmp_path, "allow_anonymous true", *lines)
    server.start()
    ours = {"cert_file": str(certificates / "client.pem"), "key_file": str(certificates / "client.key")}

    def problem_with(host: str = "localhost", **mqtt: object) -> str | None:
        board = StatusBoard()
        settings = settings_for(server.port, host=host, tls=True, **mqtt)
        with open_sinks(settings, board, live=True) as sinks:
            sinks.emit(numbered(1))
            wait_for(lambda: status_of(board).sent == 1 or "not connected yet" not in str(status_of(board).problem))
            return status_of(board).problem

    try:
        assert problem_with(ca_file=str(certificates / "ca.pem"), **ours) is None
        assert "certificate is not accepted" in str(problem_with(ca_file=str(certificates / "another-ca.pem"), **ours))
        assert "certificate is not accepted" in str(problem_with(**ours))  # the system does not trust this authority
        mismatch = problem_with("127.0.0.1", ca_file=str(certificates / "ca.pem"), **ours)
        assert "not valid for '127.0.0.1'" in str(mismatch)
        assert problem_with(ca_file=str(certificates / "ca.pem")) is not None  # without a client certificate
    finally:
        server.stop()


def test_invalid_files_are_refused_when_the_sink_is_opened(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    (tmp_path / "key").chmod(0o644)
    for mqtt, problem in (
        ({"username": "pi", "password_file": str(tmp_path / "missing")}, "mqtt.password_file: cannot read"),
        ({"tls": True, "ca_file": str(tmp_path / "missing")}, "mqtt.ca_file: cannot use"),
        ({"tls": True, "cert_file": "c", "key_file": str(tmp_path / "key")}, "other users can read"),
        (
            {"tls": True, "cert_file": str(tmp_path / "c"), "key_file": str(tmp_path / "k")},
            "mqtt.cert_file: cannot use",
        ),
    ):
        with pytest.raises(ConfigError, match=problem):
            open_sinks(settings_for(1, **mqtt), StatusBoard(), live=True)
