"""What is at the other end of the network: the broker, the webhook, and who may see the status page."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from fer_edge.doctor.checks import Case, Finding, broken, doubtful, fine, skipped
from fer_edge.errors import FerEdgeError
from fer_edge.settings.secret_files import is_for_the_service_alone, read_secret, read_token
from fer_edge.settings.service import MqttSettings, WebSettings
from fer_edge.system.extras import missing_packages

_LOG_IN = {"Bad user name or password", "Not authorized"}
"""What a broker says to a wrong password, in paho's words."""


def look_at_broker(case: Case) -> Finding:
    """Connects to the broker as the runtime would, logs in, and leaves."""
    settings = case.settings.mqtt
    if settings.host is None:
        return skipped("no [mqtt] host in the settings")
    if missing := missing_packages("mqtt"):
        return broken(f"{' and '.join(missing)} not installed", "pip install 'fer-edge[mqtt]'")
    port = settings.broker_port
    where = f"{settings.host}:{port}" + (" with TLS" if settings.tls else "")
    try:
        if settings.password_file is not None and is_for_the_service_alone(settings.password_file):
            socket.create_connection((settings.host, port), case.patience_s).close()
            return fine(f"{where} takes connections; the service alone can read the password, so nobody logged in")
        answer = _log_in(settings, port, case.patience_s)
    except FerEdgeError as error:
        return broken(str(error), "see the check of secrets")
    except (OSError, ValueError) as error:
        return broken(f"{where}: {_why(error)}", f"nc -vz {settings.host} {port}; is the broker running?")
    return _judge(answer, where)


def _judge(answer: str | None, where: str) -> Finding:
    if answer == "Success":
        return fine(f"{where}: logged in")
    if answer is None:
        return broken(
            f"{where}: takes connections and does not answer", "restart the broker: systemctl restart mosquitto"
        )
    mend = "check [mqtt] username and password_file against the broker's" if answer in _LOG_IN else None
    return broken(f"{where}: {answer.lower()}", mend)


def _log_in(settings: MqttSettings, port: int, patience_s: float) -> str | None:
    """The broker's answer in paho's words; None when there was none in time. Raises OSError, FerEdgeError."""
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    answers: list[str] = []

    def connected(client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        answers.append(str(reason))

    # A name of its own: a broker puts the older of two clients with one name out.
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"fer-edge-doctor-{time.time_ns() % 10**9}")
    client.on_connect = connected
    client.connect_timeout = patience_s
    if settings.username is not None:
        password = settings.password_file and read_secret(settings.password_file, "mqtt.password_file")
        client.username_pw_set(settings.username, password)
    if settings.tls:
        client.tls_set(settings.ca_file, settings.cert_file, settings.key_file)
    until = time.monotonic() + patience_s
    assert settings.host is not None
    client.connect(settings.host, port, keepalive=max(5, round(patience_s)))
    while not answers and time.monotonic() < until and client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS:
        pass
    client.disconnect()
    return answers[0] if answers else None


def look_at_webhook(case: Case) -> Finding:
    """Whether the server of the webhook can be reached; nothing is posted."""
    settings = case.settings.webhook
    if settings.url is None:
        return skipped("no [webhook] url in the settings")
    try:
        parts = urlsplit(settings.url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        return broken(f"{settings.url}: {error}", "correct [webhook] url")
    if host is None:
        return broken(f"{settings.url}: names no server", "correct [webhook] url")
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), case.patience_s) as plain:
            if parts.scheme == "https":
                context = ssl.create_default_context(cafile=settings.ca_file)
                with context.wrap_socket(plain, server_hostname=host) as encrypted:
                    return fine(f"{where} answers, {encrypted.version()}, certificate good")
    except OSError as error:
        return broken(f"{where}: {_why(error)}", f"curl -v {parts.scheme}://{where}/ shows more")
    return fine(f"{where} takes connections")


def look_at_web(case: Case) -> Finding:
    """Whether the page can be served where the settings say, and may be."""
    settings = case.settings.web
    if not settings.enabled:
        return skipped("[web] is not enabled")
    if missing := missing_packages("web"):
        return broken(f"{' and '.join(missing)} not installed", "pip install 'fer-edge[web]'")
    where = f"{settings.host}:{settings.port}"
    if not _loopback(settings.host) and settings.token_file is None:
        return broken(
            f"{where}: others could reach it, and no token is asked for", 'set web.token_file, or host = "127.0.0.1"'
        )
    if settings.preview and case.settings.output.privacy == "aggregate":
        return broken("web.preview shows people, output.privacy tells nothing of them", "set one of the two otherwise")
    if settings.token_file is not None and not is_for_the_service_alone(settings.token_file):
        try:
            read_token(settings.token_file, "web.token_file")
        except FerEdgeError as error:
            return broken(str(error), "openssl rand -hex 16 makes one; see the check of secrets, too")
    return _judge_address(settings, where)


def _judge_address(settings: WebSettings, where: str) -> Finding:
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return doubtful(
            f"{where}: {_why(error)}; which is as it should be where fer-edge runs already",
            f"ss -ltnp 'sport = :{settings.port}' tells who has it",
        )
    return fine(f"{where} is free" + ("" if settings.token_file is None else ", a token is asked for"))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name leads to no address"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    return (isinstance(error, OSError) and error.strerror) or str(error)
