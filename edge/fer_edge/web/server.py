"""The status page's server: what must be right before it listens, the address it takes, and what it serves."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from collections.abc import Callable
from http import HTTPStatus

from fer_edge.errors import ConfigError, OutputError
from fer_edge.settings.secret_files import read_token
from fer_edge.settings.service import WebSettings
from fer_edge.status import StatusBoard
from fer_edge.system.closing import Closing
from fer_edge.system.extras import require_extra
from fer_edge.web.access import AllowedHosts, Token
from fer_edge.web.application import Application, Response, Site, json_response, static_pages
from fer_edge.web.health import STALE_AFTER_S, condition, health
from fer_edge.web.history import History
from fer_edge.web.previews import Previews
from fer_edge.web.status_json import history_object, status_object


class WebServer(Closing):
    """The page, being served; ``url`` is where, ``port`` the port that it listens on."""

    def __init__(self, url: str, port: int, close: Callable[[], None]) -> None:
        self.url, self.port = url, port
        self._close = close
        self._closed = False

    def close(self) -> None:
        """Stop serving, within a few seconds; harmless when called again."""
        if not self._closed:
            self._closed = True
            self._close()


def open_web(
    settings: WebSettings,
    board: StatusBoard,
    history: History | None = None,
    previews: Previews | None = None,
    *,
    stale_after_s: float = STALE_AFTER_S,
) -> WebServer:
    """Listen as ``settings`` say, and serve the page, /metrics, /healthz and /readyz until ``close``.

    ``history`` and ``previews`` are fed by the caller; pictures are served only with ``settings.preview``.
    ``stale_after_s`` is the age of a newest frame from which a source is not believed to be watching
    (``health.stale_after``). Raises ConfigError for what cannot work, MissingExtraError without the extra ``web``, and
    OutputError for an address that is taken, or not there yet.
    """
    require_extra("web")
    if settings.preview and board.snapshot(with_runtimes=False).privacy == "aggregate":
        raise ConfigError('web.preview shows people, which output.privacy = "aggregate" rules out: choose one')
    token = None if settings.token_file is None else Token(read_token(settings.token_file, "web.token_file"))
    bound = _listen(settings, demands_token=token is not None)
    # Here, so that nobody who has no page pays for them.
    from fer_edge.web.listener import Listener
    from fer_edge.web.metrics import CONTENT_TYPE, BoardMetrics

    metrics = BoardMetrics(board, stale_after_s)
    pages = {
        **static_pages(),
        **_interfaces(board, history or History(), stale_after_s, preview=settings.preview),
        "/metrics": lambda: Response(HTTPStatus.OK, metrics.text(), CONTENT_TYPE),
    }
    address, port = bound.getsockname()[:2]
    shown = previews.jpeg if previews is not None and settings.preview else None
    site = Site(pages, _only_while_watching(board, shown, stale_after_s) if shown else None)
    application = Application(site, AllowedHosts(settings.host, address, settings.allowed_hosts), token)
    listener = Listener(application, bound)
    return WebServer(f"http://{_in_url(address)}:{port}/", port, listener.close)


def _interfaces(
    board: StatusBoard, history: History, stale_after_s: float, *, preview: bool
) -> dict[str, Callable[[], Response]]:
    def status() -> Response:
        return json_response(status_object(board.snapshot(), stale_after_s, preview=preview))

    def last_hour() -> Response:
        labels = board.snapshot(with_runtimes=False).model.labels
        return json_response(history_object(history.intervals(time.monotonic()), history.interval_s, labels))

    def alive() -> Response:
        found = health(board.snapshot(with_runtimes=False), stale_after_s)
        code = HTTPStatus.OK if found.healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return json_response({"healthy": found.healthy, "reasons": found.reasons}, code)

    def ready() -> Response:
        is_ready = board.snapshot(with_runtimes=False).ready
        reasons = () if is_ready else ("the model is not loaded yet, or not every source has its supervisor",)
        code = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return json_response({"ready": is_ready, "reasons": reasons}, code)

    return {"/api/status": status, "/api/history": last_hour, "/healthz": alive, "/readyz": ready}


def _only_while_watching(
    board: StatusBoard, jpeg: Callable[[str], bytes | None], stale_after_s: float
) -> Callable[[str], bytes | None]:
    """Nothing of a source that is lost: its last picture would look like now."""

    def picture(name: str) -> bytes | None:
        now = time.monotonic()
        sources = {source.name: source for source in board.snapshot(with_runtimes=False).sources}
        if name not in sources:
            return None
        watching = condition(sources[name], now, stale_after_s).delivers
        return (jpeg(name) or b"") if watching else b""

    return picture


def _listen(settings: WebSettings, *, demands_token: bool) -> socket.socket:
    """A socket that listens on the settings' address. Raises ConfigError, OutputError."""
    where = f"web.host {settings.host}, web.port {settings.port}"
    family, address = _resolved(settings)
    if not demands_token and not ipaddress.ip_address(address[0]).is_loopback:
        raise ConfigError(
            f"web.host {settings.host}: others can reach that address, so web.token_file is needed; "
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
            raise ConfigError(f"{where}: no permission for that port: take one from 1024 on") from error
        what = "is taken: another program listens there" if error.errno == errno.EADDRINUSE else f"{error.strerror}"
        raise OutputError(f"{where}: cannot listen there: {what}") from error
    return listening


def _resolved(settings: WebSettings) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Family and address to listen on: the first IPv4 address of a name, else its first of all."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or "no name"
        # A name server that does not answer yet may do so later; a name that is none will not.
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
            raise OutputError(f"web.host {settings.host}: {told}") from error
        raise ConfigError(f"web.host {settings.host}: is no address of this machine: {told}") from error
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, (str(address[0]), int(address[1]))


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
