"""The page and its interfaces as a WSGI application: a table of paths, the checks before them, the headers after."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse

from fer_edge.system.messages import print_message
from fer_edge.web.access import SESSION_S, AllowedHosts, Token, WrongTokens, host_name

SESSION_COOKIE = "fer_edge_session"
MOST_BODY = 4096
"""Bytes of a request's body: a login form is smaller."""

_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_PUBLIC = ("/page.css", "/icon.svg")
"""What the login form is made of; it tells nothing."""


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered: a status, a body and its type, and headers beside those that every answer has."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """What there is to serve: for each path, what makes its answer; ``preview`` makes a source's picture, as JPEG:
    empty when there is none now, None of what is no source."""

    pages: Mapping[str, Callable[[], Response]]
    preview: Callable[[str], bytes | None] | None = None


@dataclass(slots=True)
class Application:
    """Answers requests for ``site`` that come by an allowed name and, where there is a ``token``, with it."""

    site: Site
    hosts: AllowedHosts
    token: Token | None
    wrong: WrongTokens = field(default_factory=WrongTokens)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _told: set[str] = field(default_factory=set)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        try:
            response = self._answer(environ)
        except Exception as error:  # noqa: BLE001 - the page must not end for one request; it is told once
            response = Response(HTTPStatus.INTERNAL_SERVER_ERROR, b"internal error\n")
            self._tell_once(error)
        head = environ["REQUEST_METHOD"] == "HEAD"
        about_body = [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
        # Of no body, nothing may be told (RFC 9110, 8.6).
        headers = [*([] if response.status is HTTPStatus.NO_CONTENT else about_body), *_HEADERS, *response.headers]
        start_response(f"{response.status.value} {response.status.phrase}", headers)
        return [] if head else [response.body]

    def _answer(self, environ: dict[str, Any]) -> Response:
        refusal = self._refuse_host(environ)
        if refusal is not None:
            return refusal
        method = environ["REQUEST_METHOD"]
        path = _path(environ)
        allowed = ("GET", "HEAD", "POST") if path == "/login" and self.token else ("GET", "HEAD")
        if method not in allowed:
            return Response(
                HTTPStatus.METHOD_NOT_ALLOWED, b"method not allowed\n", headers=(("Allow", ", ".join(allowed)),)
            )
        if path == "/login":
            return self._login(environ)
        if path not in _PUBLIC:
            refusal = self._refuse_stranger(environ, path)
            if refusal is not None:
                return refusal
        return self._serve(path)

    def _serve(self, path: str) -> Response:
        page = self.site.pages.get(path)
        if page is not None:
            return page()
        if self.site.preview is not None and path.startswith("/preview/") and path.endswith(".jpg"):
            picture = self.site.preview(path.removeprefix("/preview/").removesuffix(".jpg"))
            if picture is not None:
                return Response(HTTPStatus.OK if picture else HTTPStatus.NO_CONTENT, picture, "image/jpeg")
        return Response(HTTPStatus.NOT_FOUND, b"not found\n")

    def _refuse_host(self, environ: Mapping[str, Any]) -> Response | None:
        name = host_name(environ.get("HTTP_HOST", ""))
        if name is None:
            return Response(HTTPStatus.BAD_REQUEST, b"the request names no host\n")
        if not self.hosts.allows(name):
            return Response(
                HTTPStatus.MISDIRECTED_REQUEST,
                b"this server is not known by that name; see web.allowed_hosts in its settings\n",
            )
        return None

    def _refuse_stranger(self, environ: Mapping[str, Any], path: str) -> Response | None:
        """What is answered to who shows no token and has no session; None for who may go on."""
        if self.token is None or self.token.knows(_cookie(environ)):
            return None
        scheme, _, given = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        if scheme.lower() == "bearer":
            return self._try_token(environ, given.strip())
        if path == "/":
            return Response(HTTPStatus.SEE_OTHER, headers=(("Location", "/login"),))
        return Response(
            HTTPStatus.UNAUTHORIZED, b"a token is needed\n", headers=(("WWW-Authenticate", 'Bearer realm="fer-edge"'),)
        )

    def _try_token(self, environ: Mapping[str, Any], given: str) -> Response | None:
        assert self.token is not None
        address = str(environ.get("REMOTE_ADDR", ""))
        with self._lock:
            wait_s = self.wrong.wait_s(address)
            if wait_s > 0:
                seconds = str(math.ceil(wait_s))
                return Response(
                    HTTPStatus.TOO_MANY_REQUESTS, b"too many wrong tokens\n", headers=(("Retry-After", seconds),)
                )
            # A header's bytes come as Latin-1.
            if self.token.matches(given.encode("latin-1", "replace")):
                return None
            self.wrong.count(address)
        return Response(
            HTTPStatus.UNAUTHORIZED,
            b"wrong token\n",
            headers=(("WWW-Authenticate", 'Bearer realm="fer-edge", error="invalid_token"'),),
        )

    def _login(self, environ: Mapping[str, Any]) -> Response:
        home = Response(HTTPStatus.SEE_OTHER, headers=(("Location", "/"),))
        if self.token is None:
            return home
        if environ["REQUEST_METHOD"] != "POST":
            return home if self.token.knows(_cookie(environ)) else _login_form("")
        given = _form_field(environ, "token")
        if given is None:
            return Response(HTTPStatus.BAD_REQUEST, b"a form with one token is needed\n")
        refusal = self._try_token(environ, given)
        if refusal is None:
            cookie = f"{SESSION_COOKIE}={self.token.session()}; HttpOnly; SameSite=Strict; Path=/; Max-Age={SESSION_S}"
            return Response(HTTPStatus.SEE_OTHER, headers=(("Location", "/"), ("Set-Cookie", cookie)))
        if refusal.status is HTTPStatus.TOO_MANY_REQUESTS:
            seconds = dict(refusal.headers)["Retry-After"]
            return _login_form(f"Too many wrong tokens. Try again in {seconds} seconds.", refusal)
        return _login_form("That is not the token.", refusal)

    def _tell_once(self, error: Exception) -> None:
        kind = type(error).__name__
        with self._lock:
            new = kind not in self._told
            self._told.add(kind)
        if new:
            print_message(f"status page: {kind}: {error}")


def json_response(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """``content`` as JSON. What is no number becomes null: JSON has none such."""
    body = json.dumps(_finite(content), separators=(",", ":"), allow_nan=False)
    return Response(status, body.encode("ascii") + b"\n", "application/json")


def static_pages() -> dict[str, Callable[[], Response]]:
    """The files of the page, read once."""
    script = "text/javascript; charset=utf-8"
    served = {
        "/": ("index.html", _HTML),
        "/page.css": ("page.css", "text/css; charset=utf-8"),
        "/elements.js": ("elements.js", script),
        "/hour.js": ("hour.js", script),
        "/page.js": ("page.js", script),
        "/icon.svg": ("icon.svg", "image/svg+xml"),
    }
    return {path: _constant(Response(HTTPStatus.OK, _file(name), kind)) for path, (name, kind) in served.items()}


def _constant(response: Response) -> Callable[[], Response]:
    return lambda: response


def _file(name: str) -> bytes:
    return (files("fer_edge.web") / "page" / name).read_bytes()


def _login_form(message: str, refusal: Response | None = None) -> Response:
    page = _file("login.html").replace(b"{message}", message.encode())
    if refusal is None:
        return Response(HTTPStatus.OK, page, _HTML)
    return Response(refusal.status, page, _HTML, refusal.headers)


def _path(environ: Mapping[str, Any]) -> str:
    """The path as text; what is no UTF-8 in it names nothing that is served."""
    return str(environ.get("PATH_INFO", "")).encode("latin-1", "replace").decode("utf-8", "replace")


def _cookie(environ: Mapping[str, Any]) -> str:
    try:
        morsel = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(SESSION_COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _form_field(environ: Mapping[str, Any], name: str) -> str | None:
    """The one value of ``name`` in a form, as Latin-1 text, as headers have it; None when it is not there."""
    if str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    body: bytes = environ["wsgi.input"].read(MOST_BODY)
    try:
        values = parse_qs(body.decode("ascii"), max_num_fields=8, encoding="latin-1").get(name, [])
    except ValueError:
        return None
    return values[0].strip() if len(values) == 1 else None


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
