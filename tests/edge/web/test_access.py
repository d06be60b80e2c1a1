"""Host names, tokens, sessions and the throttling of wrong tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.web.access import AllowedHosts, FailedLogins, Token, host_name

TOKEN = "0123456789abcdef0123"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8080", "localhost"),
        ("LOCALHOST", "localhost"),
        ("raspberrypi.local.", "raspberrypi.local"),
        ("192.168.1.9:80", "192.168.1.9"),
        ("[::1]:8080", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("", None),
        ("a b", None),
        ("localhost:", None),
        ("localhost:80:80", None),
        ("user@localhost", None),
        ("localhost, evil.example", None),
        ("localhost/", None),
        ("..", None),
        ("[::1", None),
    ],
)
def test_host_headers_are_parsed(header: str, name: str | None) -> None:
    assert host_name(header) == name


@given(st.text())
def test_no_host_header_raises(header: str) -> None:
    name = host_name(header)
    assert name is None or (name and name == name.lower())


def test_foreign_names_are_refused() -> None:
    hosts = AllowedHosts("127.0.0.1", "127.0.0.1", ("Pi.Local", "door:8080"))
    ours = ("localhost", "127.0.0.1", "::1", "pi.local", "door")
    assert all(hosts.allows(name) for name in ours)
    assert not any(hosts.allows(name) for name in ("evil.example", "192.168.1.9", "localhost.evil.example", "0.0.0.0"))


def test_listening_on_all_addresses_allows_any_address_but_no_name() -> None:
    hosts = AllowedHosts("0.0.0.0", "0.0.0.0", ())
    assert all(hosts.allows(name) for name in ("192.168.1.9", "fd00::1", "localhost"))
    assert not hosts.allows("evil.example")


def test_the_listening_address_is_allowed() -> None:
    hosts = AllowedHosts("raspberrypi", "192.168.1.9", ())
    assert all(hosts.allows(name) for name in ("192.168.1.9", "raspberrypi", "localhost"))
    assert not hosts.allows("192.168.1.10")


def test_sessions_are_signed_expire_and_do_not_contain_the_token() -> None:
    now = [1000.0]
    token = Token(TOKEN, lambda: now[0])
    session = token.session()
    assert token.is_valid_session(session)
    assert TOKEN not in session
    assert Token(TOKEN, lambda: now[0]).is_valid_session(session)  # after a restart
    assert not Token("another token, as long", lambda: now[0]).is_valid_session(session)
    expires, _, signature = session.partition(".")
    assert not token.is_valid_session(f"{int(expires) + 1}.{signature}")
    now[0] = int(expires)
    assert not token.is_valid_session(session)


@given(st.text(), st.binary())
def test_other_values_are_neither_session_nor_token(text: str, data: bytes) -> None:
    token = Token(TOKEN)
    assert not token.is_valid_session(text)
    assert not token.is_valid_session(f"99999999999.{text}")
    assert token.matches(data) == (data == TOKEN.encode())


def test_only_the_guessing_address_must_wait() -> None:
    now = [0.0]
    wrong = FailedLogins(lambda: now[0])
    for _ in range(5):
        assert wrong.wait_s("10.0.0.1") == 0
        wrong.record("10.0.0.1")
        now[0] += 1
    assert wrong.wait_s("10.0.0.1") == 55
    assert wrong.wait_s("10.0.0.2") == 0
    now[0] = 60.0
    assert wrong.wait_s("10.0.0.1") == 0


def test_distributed_guessing_allows_one_guess_per_address() -> None:
    wrong = FailedLogins(lambda: 0.0)
    for number in range(50):
        wrong.record(f"10.0.0.{number}")
    assert wrong.wait_s("10.0.0.7") == 60
    assert wrong.wait_s("10.0.1.1") == 0


def test_an_ipv6_network_counts_as_one_address_and_memory_is_bounded() -> None:
    wrong = FailedLogins(lambda: 0.0)
    for number in range(5):
        wrong.record(f"2001:db8::{number:x}")
    assert wrong.wait_s("2001:db8::ffff") == 60
    assert wrong.wait_s("::ffff:10.0.0.1") == 0
    for number in range(5000):
        wrong.record(f"10.{number // 250}.{number % 250}.1")
    assert len(wrong) <= 1024
