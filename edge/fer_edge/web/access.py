"""Who may ask: the names by which the page may be asked for, the token, and what happens to those who guess."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

SESSION_S = 30 * 86_400
"""How long a browser stays logged in, seconds."""

_WINDOW_S = 60.0
_MOST_OF_ONE = 5
"""Wrong tokens of one address in the window; after that it must wait, also with the right one."""
_MOST_OF_ALL = 50
"""Wrong tokens of all addresses in the window; after that, one wrong token is enough to have to wait."""
_MOST_ADDRESSES = 1024

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")


def host_name(header: str) -> str | None:
    """The name or address in a Host header, in small letters and without the port; None when it holds none."""
    match = _HOST.fullmatch(header)
    if match is None:
        return None
    name = (match[1] or match[2]).lower().rstrip(".")
    return _as_address(name) or name or None


class AllowedHosts:
    """The names of this server: localhost, the address it listens on, and those that the settings allow.

    A page elsewhere whose name leads here (DNS rebinding) has another one. A server that listens on all addresses
    may be asked for by any address: that is no name.
    """

    def __init__(self, host: str, bound: str, allowed: Iterable[str]) -> None:
        self._any_address = ipaddress.ip_address(bound).is_unspecified
        told = (name for given in (host, *allowed) for name in (given, host_name(given)) if name)
        self._names = {"localhost", bound, *(_as_address(name) or name.lower() for name in told)}
        if ipaddress.ip_address(bound).is_loopback:
            self._names |= {"127.0.0.1", "::1"}

    def allows(self, name: str) -> bool:
        """Whether the page may be asked for by ``name``, as ``host_name`` gives it."""
        return name in self._names or (self._any_address and _as_address(name) is not None)


class WrongTokens:
    """Counts wrong tokens, in bounded memory, and says who must wait. Not safe for threads by itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=_MOST_OF_ALL)

    def __len__(self) -> int:
        """Addresses that it remembers."""
        return len(self._by_address)

    def wait_s(self, address: str) -> float:
        """Seconds for which ``address`` must wait before its token is looked at; 0 when it need not."""
        now = self._clock()
        crowded = len(self._all) == _MOST_OF_ALL and now - self._all[0] < _WINDOW_S
        times = self._by_address.get(_network(address), deque())
        recent = [at for at in times if now - at < _WINDOW_S]
        most = 1 if crowded else _MOST_OF_ONE
        return max(0.0, recent[-most] + _WINDOW_S - now) if len(recent) >= most else 0.0

    def count(self, address: str) -> None:
        """``address`` gave a wrong token."""
        now, network = self._clock(), _network(address)
        self._by_address.setdefault(network, deque(maxlen=_MOST_OF_ONE)).append(now)
        self._by_address.move_to_end(network)
        if len(self._by_address) > _MOST_ADDRESSES:
            self._by_address.popitem(last=False)
        self._all.append(now)


class Token:
    """The token that is demanded of everybody, and the sessions of browsers that gave it.

    A session is signed with a key made from the token: it outlives a restart, ends with the token, and does not tell
    it.
    """

    def __init__(self, token: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._digest = hashlib.sha256(token.encode()).digest()
        self._key = hmac.digest(token.encode(), b"fer-edge session", "sha256")

    def matches(self, given: bytes) -> bool:
        """Whether ``given`` is the token, in a time that does not depend on how much of it is right."""
        return hmac.compare_digest(hashlib.sha256(given).digest(), self._digest)

    def session(self) -> str:
        """A new session, for a cookie."""
        return self._signed(int(self._wall_clock()) + SESSION_S)

    def knows(self, session: str) -> bool:
        """Whether ``session`` was made with this token, and has not ended."""
        expires, _, _ = session.partition(".")
        if not re.fullmatch(r"[0-9]{1,12}", expires):
            return False
        mine = hmac.compare_digest(session.encode(), self._signed(int(expires)).encode())
        return mine and self._wall_clock() < int(expires)

    def _signed(self, expires: int) -> str:
        return f"{expires}.{hmac.digest(self._key, str(expires).encode(), 'sha256').hex()}"


def _as_address(name: str) -> str | None:
    """``name`` as an address in its shortest form; None where it is a name."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None


def _network(address: str) -> str:
    """What one guest has: an IPv4 address, or the half of an IPv6 address that names his network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
