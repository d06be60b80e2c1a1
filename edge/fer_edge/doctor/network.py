"""Checks of the network: MQTT broker, webhook, address of the status page."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from fer_edge.doctor.checks import Context, Finding, bad, ok, skipped, warn
from fer_edge.errors import ConfigError, FerEdgeError, install_command, reason_of
from fer_edge.settings.secret_files import is_for_the_service_alone, read_token
from fer_edge.settings.service import MqttSettings, WebSettings
from fer_edge.system.extras import missing_packages

_LOGIN_ERRORS = {"Bad user name or password", "Not authorized"}
"""Answers to a wrong user name or password, as worded by paho."""


def check_broker(context: Context) -> Finding:
    """Connect to the broker with the settings of the runtime, log in and disconnect."""
    settings = context.settings.mqtt
    if settings.host is None:
        return skipped("no [mqtt] host in the settings")
    if missing := missing_packages("mqtt"):
        return bad(f"{' and '.join(missing)} not installed", install_command("mqtt"))
    port = settings.broker_port
    where = f"{settings.host}:{port}" + (" with TLS" if settings.tls else "")
    try:
        if settings.password_file is not None and is_for_the_service_alone(settings.password_file):
            socket.create_connection((settings.host, port), context.timeout_s).close()
            return ok(f"{where} accepts connections; login not tested: only the service can read the password")
        answer = _log_in(settings, port, context.timeout_s)
    except FerEdgeError as error:
        return bad(str(error), "correct the setting; see also the check 'secrets'")
    except (OSError, ValueError) as error:
        return bad(f"{where}: {_describe(error)}", f"nc -vz {settings.host} {port}; is the broker running?")
    return _login_finding(answer, where)


def _login_finding(answer: str | None, where: str) -> Finding:
    if answer == "Success":
        return ok(f"{where}: logged in")
    if answer is None:
        return bad(f"{where}: accepts connections but does not answer", "systemctl restart mosquitto")
    fix = "check [mqtt] username and password_file" if answer in _LOGIN_ERRORS else None
    return bad(f"{where}: {answer.lower()}", fix)


def _log_in(settings: MqttSettings, port: int, timeout_s: float) -> str | None:
    """Log in and return the broker's answer as worded by paho; None on timeout. Raises OSError, FerEdgeError."""
    from paho.mqtt.enums import MQTTErrorCode

    from fer_edge.sinks.mqtt.client import LimitedClient

    answers: list[str] = []

    def connected(client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        answers.append(str(reason))

    # A unique client id: a broker disconnects the older of two clients with the same id.
    client = LimitedClient(settings, f"fer-edge-doctor-{time.time_ns() % 10**9}", timeout_s)
    client.on_connect = connected
    until = time.monotonic() + timeout_s
    assert settings.host is not None
    client.connect(settings.host, port, keepalive=max(5, round(timeout_s)))
    while not answers and time.monotonic() < until and client.loop(0.1) == MQTTErrorCode.MQTT_ERR_SUCCESS:
        pass
    client.disconnect()
    return answers[0] if answers else client.cause


def check_webhook(context: Context) -> Finding:
    """Connect to the server of the webhook, without sending a request."""
    settings = context.settings.webhook
    if settings.url is None:
        return skipped("no [webhook] url in the settings")
    try:
        parts = urlsplit(settings.url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        return bad(f"{settings.url}: {error}", "correct [webhook] url")
    if host is None:
        return bad(f"{settings.url}: has no host name", "correct [webhook] url")
    where, answer = f"{host}:{port}", "accepts connections"
    try:
        with socket.create_connection((host, port), context.timeout_s) as plain:
            if parts.scheme == "https":
                from fer_edge.sinks.tls import tls_context

                with tls_context("webhook.{}_file", settings.ca_file).wrap_socket(plain, server_hostname=host) as tls:
                    answer = f"answers, {tls.version()}, certificate valid"
    except ConfigError as error:
        return bad(str(error), "correct [webhook] ca_file")
    except OSError as error:
        return bad(f"{where}: {_describe(error)}", f"curl -v {parts.scheme}://{where}/ shows details")
    return ok(f"{where} {answer}")


def check_web(context: Context) -> Finding:
    """Check that the page can be served at the configured address, and is protected by a token if needed."""
    settings = context.settings.web
    if not settings.enabled:
        return skipped("[web] is not enabled")
    if missing := missing_packages("web"):
        return bad(f"{' and '.join(missing)} not installed", install_command("web"))
    where = f"{settings.host}:{settings.port}"
    if not _loopback(settings.host) and settings.token_file is None:
        return bad(f"{where}: other machines can reach it without a token", 'set web.token_file, or host = "127.0.0.1"')
    if settings.preview and context.settings.output.privacy == "aggregate":
        return bad('web.preview shows people, which output.privacy = "aggregate" forbids', "change one of the two")
    if settings.token_file is not None and not is_for_the_service_alone(settings.token_file):
        try:
            read_token(settings.token_file, "web.token_file")
        except FerEdgeError as error:
            return bad(str(error), "create one with openssl rand -hex 16; see also the check 'secrets'")
    return _check_address(settings, where)


def _check_address(settings: WebSettings, where: str) -> Finding:
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return warn(
            f"{where}: {_describe(error)}; expected if fer-edge is running already",
            f"ss -ltnp 'sport = :{settings.port}' shows the program that uses it",
        )
    return ok(f"{where} is free" + ("" if settings.token_file is None else ", token required"))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _describe(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "host name not found"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate rejected: {error.verify_message}"
    return reason_of(error)
