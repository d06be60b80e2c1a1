"""Post each event as JSON to a web server."""

from __future__ import annotations

import base64
import http.client
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urlsplit

from fer_edge.errors import ConfigError, OutputError, reason_of
from fer_edge.settings.redaction import redacted
from fer_edge.settings.secret_files import read_secret
from fer_edge.settings.service import WebhookSettings
from fer_edge.sinks.queued import EventRejectedError
from fer_edge.sinks.tls import tls_context
from fer_edge.system.closing import Closing

_TRY_AGAIN = (401, 403, 404, 407, 408, 425, 429)
"""4xx codes that are retried, because they may be temporary: a token that is being changed, a proxy that is starting,
too many requests. Others reject the event itself."""


class Webhook(Closing):
    """The transport of a webhook: one POST request for each event, to ``settings.url``.

    Redirects are not followed, so that neither event nor token is sent to another address.

    Raises:
        ConfigError: if the URL, token or certificate cannot be used.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        assert settings.url is not None
        self._shown = redacted(settings.url)
        self._url = _split(settings.url, self._shown)
        self._target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        self._timeout_s = settings.timeout_s
        self._tls = tls_context("webhook.{}_file", settings.ca_file) if self._url.scheme == "https" else None
        self._headers = {"Content-Type": "application/json", "User-Agent": "fer-edge"}
        if settings.token_file is not None:
            token = read_secret(settings.token_file, "webhook.token_file")
            if not token.isascii():
                raise ConfigError(f"webhook.token_file: {settings.token_file} must contain only ASCII characters")
            self._headers["Authorization"] = f"Bearer {token}"
        elif self._url.username is not None:
            login = f"{unquote(self._url.username)}:{unquote(self._url.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"

    def send(self, events: Sequence[bytes]) -> int:
        """Post the first event. Raises EventRejectedError if the server will never accept it, else OutputError."""
        connection = self._connection()
        # The socket's timeout limits each read; the timer limits the request, in case a server sends byte by byte.
        too_late = threading.Event()
        deadline = threading.Timer(self._timeout_s, _cut, [connection, too_late])
        deadline.daemon = True
        try:
            deadline.start()
            connection.request("POST", self._target, body=events[0], headers=self._headers)
            status = connection.getresponse().status
            if too_late.is_set():  # a truncated response may look complete
                raise TimeoutError
        # RuntimeError: no thread can be started. ValueError: invalid host name, or socket closed during the handshake.
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            late = too_late.is_set() or isinstance(error, TimeoutError)
            problem = f"no answer within {self._timeout_s:g} s" if late else reason_of(error)
            raise OutputError(f"{self._shown}: {problem}") from None
        finally:
            deadline.cancel()
            connection.close()
        self._judge(status)
        return 1

    def _judge(self, status: int) -> None:
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            redirect = f"redirects to another address (HTTP {status}), which is not followed; set webhook.url to it"
            raise OutputError(f"{self._shown}: {redirect}")
        if 400 <= status < 500 and status not in _TRY_AGAIN:
            raise EventRejectedError(f"{self._shown}: rejected an event (HTTP {status}), which is dropped")
        raise OutputError(f"{self._shown}: does not accept events at the moment (HTTP {status})")

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)


def _split(url: str, shown: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0  # the port is checked when it is read
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(
            f"webhook.url: {shown} is not a valid URL; percent-encode special characters (a space is %20)"
        )
    return parts


def _cut(connection: http.client.HTTPConnection, too_late: threading.Event) -> None:
    too_late.set()
    with suppress(OSError, AttributeError):  # not connected
        connection.sock.shutdown(socket.SHUT_RDWR)
