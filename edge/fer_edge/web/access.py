"""Access control: allowed Host headers, the access token, sessions and throttling of wrong tokens."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

SESSION_S = 30 * 86_400
"""Lifetime of a browser session, seconds."""

_WINDOW_S = 60.0
_MAX_PER_ADDRESS = 5
"""Wrong tokens from one address within the window; after that it must wait, even with the right token."""
_MAX_TOTAL = 50
"""Wrong tokens from all addresses within the window; after that, an address must wait after one wrong token."""
_MAX_ADDRESSES = 1024

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")


def host_name(header: str) -> str | None:
    """Return the name or address in a Host header, lowercase and without the port; None if it is invalid."""
    match = _HOST.fullmatch(header)
    if match is None:
        return None
    name = (match[1] or match[2]).lower().rstrip(".")
    return _as_address(name) or name or None


class AllowedHosts:
    """The accepted Host headers: localhost, the listening address and the names in ``web.allowed_hosts``.

    This prevents DNS rebinding: a foreign web page whose name resolves to this device sends its own name. A server that
    listens on all addresses accepts any IP address, but no other name.

    Args:
        host: ``web.host`` as configured.
        bound: The address that ``host`` was resolved to.
        allowed: ``web.allowed_hosts``, with or without port.
    """

    def __init__(self, host: str, bound: str, allowed: Iterable[str]) -> None:
        self._any_address = ipaddress.ip_address(bound).is_unspecified
        given = (name for text in (host, *allowed) for name in (text, host_name(text)) if name)
        self._names = {"localhost", bound, *(_as_address(name) or name.lower() for name in given)}
        if ipaddress.ip_address(bound).is_loopback:
            self._names |= {"127.0.0.1", "::1"}

    def allows(self, name: str) -> bool:
        """Return whether requests for ``name`` are accepted. ``name`` is a result of ``host_name``."""
        return name in self._names or (self._any_address and _as_address(name) is not None)


class FailedLogins:
    """Count wrong tokens by address, in bounded memory. Not thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=_MAX_TOTAL)

    def __len__(self) -> int:
        """Return the number of addresses remembered."""
        return len(self._by_address)

    def wait_s(self, address: str) -> float:
        """Return the seconds until a token from ``address`` is checked again; 0 if it is checked now."""
        now = self._clock()
        crowded = len(self._all) == _MAX_TOTAL and now - self._all[0] < _WINDOW_S
        times = self._by_address.get(_network(address), deque())
        recent = [at for at in times if now - at < _WINDOW_S]
        max_wrong = 1 if crowded else _MAX_PER_ADDRESS
        return max(0.0, recent[-max_wrong] + _WINDOW_S - now) if len(recent) >= max_wrong else 0.0

    def record(self, address: str) -> None:
        """Count a wrong token from ``address``."""
        now, network = self._clock(), _network(address)
        self._by_address.setdefault(network, deque(maxlen=_MAX_PER_ADDRESS)).append(now)
        self._by_address.move_to_end(network)
        if len(self._by_address) > _MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        self._all.append(now)


class Token:
    """The access token and the sessions of browsers that logged in with it.

    Sessions are signed with a key derived from the token. They survive a restart, become invalid when the token
    changes, and do not reveal the token.
    """

    def __init__(self, token: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._digest = hashlib.sha256(token.encode()).digest()
        self._key = hmac.digest(token.encode(), b"fer-edge session", "sha256")

    def matches(self, given: bytes) -> bool:
        """Return whether ``given`` is the token, in constant time."""
        return hmac.compare_digest(hashlib.sha256(given).digest(), self._digest)

    def session(self) -> str:
        """Return a new session, the value of a cookie."""
        return self._signed(int(self._wall_clock()) + SESSION_S)

    def is_valid_session(self, session: str) -> bool:
        """Return whether ``session`` was signed with this token and has not expired."""
        expires, _, _ = session.partition(".")
        if not re.fullmatch(r"[0-9]{1,12}", expires):
            return False
        signed = hmac.compare_digest(session.encode(), self._signed(int(expires)).encode())
        return signed and self._wall_clock() < int(expires)

    def _signed(self, expires: int) -> str:
        return f"{expires}.{hmac.digest(self._key, str(expires).encode(), 'sha256').hex()}"


def _as_address(name: str) -> str | None:
    """Return ``name`` in the shortest form if it is an IP address, else None."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None


def _network(address: str) -> str:
    """Return the unit that is throttled: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", parsed))
