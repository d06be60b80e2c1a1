"""The page and its endpoints as a WSGI application: access checks, routing by path, security headers."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse

from fer_edge.sinks.event_json import json_bytes
from fer_edge.system.messages import print_message
from fer_edge.web.access import SESSION_S, AllowedHosts, FailedLogins, Token, host_name

SESSION_COOKIE = "fer_edge_session"
MAX_BODY_BYTES = 4096
"""Limit of a request body; a login form is smaller."""

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
_TYPES = {
    "html": _HTML,
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Content types of the static files, by suffix."""
_PUBLIC = ("/page.css", "/icon.svg")
"""Resources of the login form, served without a token. They hold no data of the device."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response; ``headers`` are added to those that every response has."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Application:
    """Serve ``pages`` to requests with an allowed Host header and, if ``token`` is set, a valid token or session.

    Attributes:
        pages: For each path, a function that returns the response.
        preview: Return the newest image of the source with the given name, as JPEG: empty bytes if there is none now,
            None if no source has that name. None if ``web.preview`` is off.
    """

    pages: Mapping[str, Callable[[], Response]]
    hosts: AllowedHosts
    token: Token | None
    preview: Callable[[str], bytes | None] | None = None
    failures: FailedLogins = field(default_factory=FailedLogins)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reported: set[str] = field(default_factory=set)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; the interface of WSGI (PEP 3333)."""
        try:
            response = self._answer(environ)
        except Exception as error:  # noqa: BLE001 - one failed request must not stop the page; reported once
            response = Response(HTTPStatus.INTERNAL_SERVER_ERROR, b"internal error\n")
            self._report_once(error)
        head = environ["REQUEST_METHOD"] == "HEAD"
        body_headers = [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
        # 204 must not have Content-Length (RFC 9110, 8.6).
        headers = [*([] if response.status is HTTPStatus.NO_CONTENT else body_headers), *_HEADERS, *response.headers]
        start_response(f"{response.status.value} {response.status.phrase}", headers)
        return [] if head else [response.body]

    def _answer(self, environ: dict[str, Any]) -> Response:
        name = host_name(environ.get("HTTP_HOST", ""))
        if name is None:
            return _refuse(HTTPStatus.BAD_REQUEST, "missing or invalid Host header")
        if not self.hosts.allows(name):
            problem = "unknown host name; allowed names are set in web.allowed_hosts"
            return _refuse(HTTPStatus.MISDIRECTED_REQUEST, problem)
        # Invalid UTF-8 is replaced, so that it matches no path.
        path = str(environ.get("PATH_INFO", "")).encode("latin-1", "replace").decode("utf-8", "replace")
        allowed = ("GET", "HEAD", "POST") if path == "/login" and self.token else ("GET", "HEAD")
        if environ["REQUEST_METHOD"] not in allowed:
            return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed", ("Allow", ", ".join(allowed)))
        if path == "/login":
            return self._login(environ)
        refusal = None if path in _PUBLIC else self._check_access(environ, path)
        return refusal or self._serve(path)

    def _serve(self, path: str) -> Response:
        page = self.pages.get(path)
        if page is not None:
            return page()
        if self.preview is not None and path.startswith("/preview/") and path.endswith(".jpg"):
            image = self.preview(path.removeprefix("/preview/").removesuffix(".jpg"))
            if image is not None:
                return Response(HTTPStatus.OK if image else HTTPStatus.NO_CONTENT, image, "image/jpeg")
        return _refuse(HTTPStatus.NOT_FOUND, "not found")

    def _check_access(self, environ: Mapping[str, Any], path: str) -> Response | None:
        """Return the refusal of a request without valid session or token, None if the request is allowed."""
        if self.token is None or self.token.is_valid_session(_cookie(environ)):
            return None
        scheme, _, given = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        if scheme.lower() == "bearer":
            return self._try_token(environ, given.strip())
        if path == "/":
            return _redirect("/login")
        return _refuse(HTTPStatus.UNAUTHORIZED, "token required", ("WWW-Authenticate", 'Bearer realm="fer-edge"'))

    def _try_token(self, environ: Mapping[str, Any], given: str) -> Response | None:
        assert self.token is not None
        address = str(environ.get("REMOTE_ADDR", ""))
        with self._lock:
            wait_s = self.failures.wait_s(address)
            if wait_s > 0:
                retry_after = ("Retry-After", str(math.ceil(wait_s)))
                return _refuse(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens", retry_after)
            # WSGI decodes headers as Latin-1.
            if self.token.matches(given.encode("latin-1", "replace")):
                return None
            self.failures.record(address)
        challenge = ("WWW-Authenticate", 'Bearer realm="fer-edge", error="invalid_token"')
        return _refuse(HTTPStatus.UNAUTHORIZED, "wrong token", challenge)

    def _login(self, environ: Mapping[str, Any]) -> Response:
        if self.token is None:
            return _redirect("/")
        if environ["REQUEST_METHOD"] != "POST":
            return _redirect("/") if self.token.is_valid_session(_cookie(environ)) else _login_form("")
        given = _form_field(environ, "token")
        if given is None:
            return _refuse(HTTPStatus.BAD_REQUEST, "expected a form with one field 'token'")
        refusal = self._try_token(environ, given)
        if refusal is None:
            cookie = f"{SESSION_COOKIE}={self.token.session()}; HttpOnly; SameSite=Strict; Path=/; Max-Age={SESSION_S}"
            return _redirect("/", ("Set-Cookie", cookie))
        if refusal.status is HTTPStatus.TOO_MANY_REQUESTS:
            seconds = dict(refusal.headers)["Retry-After"]
            return _login_form(f"Too many wrong tokens. Try again in {seconds} seconds.", refusal)
        return _login_form("Wrong token.", refusal)

    def _report_once(self, error: Exception) -> None:
        kind = type(error).__name__
        with self._lock:
            new = kind not in self._reported
            self._reported.add(kind)
        if new:
            print_message(f"status page: {kind}: {error}")


def _refuse(status: HTTPStatus, problem: str, *headers: tuple[str, str]) -> Response:
    return Response(status, f"{problem}\n".encode(), headers=headers)


def _redirect(path: str, *headers: tuple[str, str]) -> Response:
    return Response(HTTPStatus.SEE_OTHER, headers=(("Location", path), *headers))


def json_response(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Return ``content`` as JSON; NaN and infinities become null."""
    return Response(status, json_bytes(content) + b"\n", "application/json")


def static_pages() -> dict[str, Callable[[], Response]]:
    """Return the static files of the page, read once."""
    names = ("page.css", "elements.js", "hour.js", "page.js", "icon.svg")
    served = {"/": "index.html", **{f"/{name}": name for name in names}}
    return {
        path: partial(Response, HTTPStatus.OK, _file(name), _TYPES[name.partition(".")[2]])
        for path, name in served.items()
    }


def _file(name: str) -> bytes:
    return (files("fer_edge.web") / "page" / name).read_bytes()


def _login_form(message: str, refusal: Response | None = None) -> Response:
    page = _file("login.html").replace(b"{message}", message.encode())
    return replace(refusal or Response(HTTPStatus.OK), body=page, content_type=_HTML)


def _cookie(environ: Mapping[str, Any]) -> str:
    try:
        morsel = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(SESSION_COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _form_field(environ: Mapping[str, Any], name: str) -> str | None:
    """Return the value of the form field ``name`` as Latin-1, like a header; None unless there is exactly one."""
    if str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    body: bytes = environ["wsgi.input"].read(MAX_BODY_BYTES)
    try:
        values = parse_qs(body.decode("ascii"), max_num_fields=8, encoding="latin-1").get(name, [])
    except ValueError:
        return None
    return values[0].strip() if len(values) == 1 else None
