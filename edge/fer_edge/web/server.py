"""The web server of the status page: checks its settings, binds the address and assembles what is served."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http import HTTPStatus

from fer_edge.errors import ConfigError, OutputError
from fer_edge.settings.secret_files import read_token
from fer_edge.settings.service import WebSettings
from fer_edge.status import DaemonStatus, StatusBoard
from fer_edge.system.closing import Closing
from fer_edge.system.extras import require_extra
from fer_edge.web.access import AllowedHosts, Token
from fer_edge.web.application import Application, Response, json_response, static_pages
from fer_edge.web.health import STALE_AFTER_S, health, with_stalled
from fer_edge.web.history import History
from fer_edge.web.previews import Previews
from fer_edge.web.status_json import history_object, status_object

_NOT_READY = "the model is not loaded yet, or not every source has been started"


class WebServer(Closing):
    """A running web server. ``url`` is the address of the page, ``port`` the TCP port."""

    def __init__(self, url: str, port: int, close: Callable[[], None]) -> None:
        self.url, self.port = url, port
        self._stack = ExitStack()
        self._stack.callback(close)

    def close(self) -> None:
        """Stop serving, within a few seconds. Idempotent."""
        self._stack.close()


def open_web(
    settings: WebSettings,
    board: StatusBoard,
    history: History | None = None,
    previews: Previews | None = None,
    *,
    stale_after_s: float = STALE_AFTER_S,
) -> WebServer:
    """Serve the page, /metrics, /healthz and /readyz at ``settings.host``:``settings.port`` until ``close()``.

    Args:
        board: Read for each request: the status to show.
        history: The emotions of the last hour, filled by the caller.
        previews: The newest images, filled by the caller. Served only with ``settings.preview``.
        stale_after_s: Age of its newest frame at which a source counts as stalled; see ``health.stale_after``.

    Raises:
        ConfigError: The settings contradict each other, or the address is not allowed without a token.
        MissingExtraError: The extra ``web`` is not installed.
        OutputError: The address is in use, or not available yet.
    """
    require_extra("web")
    if settings.preview and board.snapshot(with_runtimes=False).privacy == "aggregate":
        raise ConfigError('web.preview shows people, which output.privacy = "aggregate" forbids: choose one')
    token = None if settings.token_file is None else Token(read_token(settings.token_file, "web.token_file"))
    listening = _listen(settings, has_token=token is not None)
    # Imported here: a daemon without the page does not load waitress and prometheus-client.
    from fer_edge.web.metrics import CONTENT_TYPE, StatusMetrics
    from fer_edge.web.wsgi_server import WsgiServer

    metrics = StatusMetrics(board, stale_after_s)
    pages = {
        **static_pages(),
        **_endpoints(board, history or History(), stale_after_s, preview=settings.preview),
        "/metrics": lambda: Response(HTTPStatus.OK, metrics.text(), CONTENT_TYPE),
    }
    address, port = listening.getsockname()[:2]
    preview = _live_preview(board, previews, stale_after_s) if previews and settings.preview else None
    hosts = AllowedHosts(settings.host, address, settings.allowed_hosts)
    application = Application(pages, hosts, token, preview)
    server = WsgiServer(application, listening)
    host = f"[{address}]" if ":" in address else address
    return WebServer(f"http://{host}:{port}/", port, server.close)


def _endpoints(
    board: StatusBoard, history: History, stale_after_s: float, *, preview: bool
) -> dict[str, Callable[[], Response]]:
    def brief() -> DaemonStatus:
        return with_stalled(board.snapshot(with_runtimes=False), stale_after_s)

    def readyz() -> Response:
        ready = brief().ready
        return _probe("ready", ready, () if ready else (_NOT_READY,))

    return {
        "/api/status": lambda: json_response(status_object(board.snapshot(), stale_after_s, preview=preview)),
        "/api/history": lambda: json_response(history_object(history, brief().model.labels)),
        "/healthz": lambda: _probe("healthy", *health(brief())),
        "/readyz": readyz,
    }


def _probe(name: str, passed: bool, reasons: Sequence[str]) -> Response:
    code = HTTPStatus.OK if passed else HTTPStatus.SERVICE_UNAVAILABLE
    return json_response({name: passed, "reasons": reasons}, code)


def _live_preview(board: StatusBoard, previews: Previews, stale_after_s: float) -> Callable[[str], bytes | None]:
    """Return ``previews.jpeg``, but only of sources that deliver frames: an old image would look live."""

    def preview(name: str) -> bytes | None:
        status = with_stalled(board.snapshot(with_runtimes=False), stale_after_s)
        delivers = {source.name: source.state.delivers for source in status.sources}
        if name not in delivers:
            return None
        return (previews.jpeg(name) or b"") if delivers[name] else b""

    return preview


def _listen(settings: WebSettings, *, has_token: bool) -> socket.socket:
    """Return a listening socket. Raises ConfigError, OutputError."""
    where = f"web.host {settings.host}, web.port {settings.port}"
    family, address = _resolve(settings)
    if not has_token and not ipaddress.ip_address(address[0]).is_loopback:
        raise ConfigError(
            f"web.host {settings.host}: other machines can reach that address: set web.token_file, "
            "or listen on 127.0.0.1"
        )
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EACCES:
            raise ConfigError(f"{where}: permission denied: choose a port above 1023") from error
        in_use = error.errno == errno.EADDRINUSE
        reason = "the port is in use by another program" if in_use else f"{error.strerror}"
        raise OutputError(f"{where}: cannot listen: {reason}") from error
    return listening


def _resolve(settings: WebSettings) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Resolve ``web.host`` and return its first IPv4 address, else its first address."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        # A name server may be unreachable temporarily; an unknown name stays unknown.
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
            raise OutputError(f"web.host {settings.host}: {reason}") from error
        raise ConfigError(f"web.host {settings.host}: not an address of this machine: {reason}") from error
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, (str(address[0]), int(address[1]))
