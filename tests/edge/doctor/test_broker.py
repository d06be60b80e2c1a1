"""``fer-edge doctor`` and the MQTT broker: login, TLS and failures."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fer_edge.doctor import network
from fer_edge.doctor.checks import Context, Verdict
from support.results.findings import assert_found, context_of, secret_file
from support.servers.loopback import free_port, port_of, silent_server

pytest.importorskip("paho", reason="needs the extra mqtt")

from support.servers.mosquitto import Broker, needs_mosquitto

OK, BAD, SKIPPED = Verdict.OK, Verdict.BAD, Verdict.SKIPPED


@contextmanager
def broker(folder: Path, *lines: str) -> Iterator[int]:
    """Run a broker with these ``lines`` of configuration and yield its port."""
    mosquitto = Broker(folder, *lines)
    mosquitto.start()
    try:
        yield mosquitto.port
    finally:
        mosquitto.stop()


def with_broker(folder: Path, port: int, more: str = "", timeout_s: float = 20.0) -> Context:
    return context_of(folder, f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n{more}', timeout_s=timeout_s)


@needs_mosquitto
def test_login_succeeds(tmp_path: Path) -> None:
    with broker(tmp_path) as port:
        assert_found(network.check_broker(with_broker(tmp_path, port)), OK, "logged in")


@needs_mosquitto
def test_login_with_a_password(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "cam", "right"], check=True, capture_output=True)
    with broker(tmp_path, "allow_anonymous false", f"password_file {passwords}") as port:
        for secret, verdict, said in (("right", OK, "logged in"), ("not-this-one", BAD, "username and password_file")):
            path = secret_file(tmp_path, "secret", secret)
            found = network.check_broker(with_broker(tmp_path, port, f'username = "cam"\npassword_file = "{path}"\n'))
            assert_found(found, verdict, said)
            assert secret not in f"{found}"
        assert_found(network.check_broker(with_broker(tmp_path, port)), BAD, "not authori")
        credential = with_broker(tmp_path, port, 'username = "cam"\npassword_file = "mqtt-password"\n')
        assert_found(network.check_broker(credential), OK, "only the service can read the password")


@needs_mosquitto
def test_the_certificate_is_verified(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"))
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *subject]
    subprocess.run(make, check=True, capture_output=True)
    lines = ("allow_anonymous true", f"certfile {tmp_path}/cert.pem", f"keyfile {tmp_path}/key.pem")
    with broker(tmp_path, *lines) as port:
        trusted = with_broker(tmp_path, port, f'tls = true\nca_file = "{tmp_path}/cert.pem"\n')
        assert_found(network.check_broker(trusted), OK, "with TLS", "logged in")
        assert_found(network.check_broker(with_broker(tmp_path, port, "tls = true\n")), BAD, "certificate")


def test_a_missing_or_silent_broker(tmp_path: Path) -> None:
    assert_found(network.check_broker(context_of(tmp_path)), SKIPPED)
    assert_found(network.check_broker(with_broker(tmp_path, free_port())), BAD, "refused", "nc -vz 127.0.0.1")
    with silent_server() as listener:
        context = with_broker(tmp_path, port_of(listener), timeout_s=1.0)
        assert_found(network.check_broker(context), BAD, "does not answer")
