"""Passwords in URLs are hidden, and nothing else is."""

from __future__ import annotations

import re
import string
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fer_edge.settings.redaction import redacted
from fer_edge.sources import source_names

LETTERS = string.ascii_letters + string.digits
SCHEMES = st.sampled_from(["rtsp", "http", "https", "rtsps"])
NAMES = st.text(LETTERS + "-._~", min_size=1, max_size=12)
HOSTS = st.sampled_from(["camera", "10.0.0.7", "cam.example.org", "[fe80::1]"])
PORTS = st.sampled_from(["", ":0", ":80", ":554", ":8080", ":9999", ":59999", ":60000", ":65529", ":65535"])
PATHS = (
    st.text(LETTERS + "-._~/@:!$&'()*+,;=?#%", max_size=20)
    .filter(
        lambda text: "://" not in f"/{text}" and "=" not in text
    )  # a URL within the URL, which may also contain a password
    .map(lambda text: text and f"/{text}")
)
SECRET = "Sésame"


def hidden(url: str) -> str:
    shown = redacted(url)
    assert SECRET not in shown, shown
    return shown


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://u:pw@x/y", "rtsp://u:***@x/y"),
        ("rtsp://u:p@w@x:554/y@z", "rtsp://u:***@x:554/y@z"),
        ("rtsp://:pw@x", "rtsp://:***@x"),
        ("rtsp://u:p/w@x/y", "rtsp://u:***@x/y"),
        ("rtsp://u:123456/pw@x/y", "rtsp://u:***@x/y"),
        ("rtsp://u:65536/pw@x/y", "rtsp://u:***@x/y"),
        ("rtsp://u:65535/y@z", "rtsp://u:65535/y@z"),
        ("rtsp://x:554/y@z", "rtsp://x:554/y@z"),
        ("rtsp://x:554?y@z", "rtsp://x:554?y@z"),
        ("rtsp://[::1]/y@z", "rtsp://[::1]/y@z"),
        ("rtsp://u:pw@[::1]:554/y@z", "rtsp://u:***@[::1]:554/y@z"),
        ("http://x/video.cgi?user=me&pwd=pw@1&rate=5", "http://x/video.cgi?user=me&pwd=***&rate=5"),
        ("http://x/v?Password=pw@", "http://x/v?Password=***"),
        ("'http://x/v?token=pw@', 'a'", "'http://x/v?token=***', 'a'"),
        ("http://x/v?user=u&loginpas=pw@&api_key=pw@", "http://x/v?user=u&loginpas=***&api_key=***"),
        ("rtsp://x/user=admin_password=pw@_channel=1.sdp", "rtsp://x/user=admin_password=***"),
        ("rtsp:/admin:pw@x/y", "rtsp:/admin:***@x/y"),
        ("a?pwd=b.mp4", "a?pwd=b.mp4"),
        ("a:b@c.mp4", "a:b@c.mp4"),
        ("'rtsp://u:pw@x/y', 'http://v:qw@x/y'", "'rtsp://u:***@x/y', 'http://v:***@x/y'"),
    ],
)
def test_passwords_are_hidden(uri: str, shown: str) -> None:
    assert redacted(uri) == shown
    assert "pw@" not in source_names([uri])[0]


@given(SCHEMES, NAMES, st.text(max_size=10), HOSTS, PORTS, PATHS)
def test_a_password_as_urls_have_it_is_hidden(
    scheme: str, user: str, more: str, host: str, port: str, path: str
) -> None:
    password = quote(more, safe="")
    url = f"{scheme}://{user}:{password}@{host}{port}{path}"
    assert urlsplit(url).password == password
    assert redacted(url) == f"{scheme}://{user}:***@{host}{port}{path}"


@given(SCHEMES, NAMES, st.text(LETTERS + "@:/?#!&", max_size=8), st.text(LETTERS + "/?#", max_size=8), HOSTS)
def test_a_password_with_unescaped_marks_is_hidden_unless_they_read_as_a_path(
    scheme: str, user: str, start: str, middle: str, host: str
) -> None:
    before, *after_mark = re.split("[/?#]", start + SECRET + middle, maxsplit=1)
    a_port_stands_there = before.isdecimal() and int(before) <= 65535
    assume(not after_mark or not (a_port_stands_there or "@" in before))
    assert hidden(f"{scheme}://{user}:{start}{SECRET}{middle}@{host}/x") == f"{scheme}://{user}:***@{host}/x"


@given(SCHEMES, NAMES, st.integers(65_536, 10**20), st.sampled_from("/?#"), HOSTS, PATHS)
def test_digits_that_are_no_port_are_a_password(
    scheme: str, user: str, digits: int, mark: str, host: str, path: str
) -> None:
    shown = hidden(f"{scheme}://{user}:{digits}{mark}{SECRET}@{host}{path}")
    # An @ in the path is taken for the last one of a password without bounds: too much is hidden, never too little.
    assert shown == f"{scheme}://{user}:***@{path.rpartition('@')[2] if '@' in path else host + path}"


@given(SCHEMES, HOSTS, PORTS, PATHS)
def test_a_url_without_a_password_stays_as_it_is(scheme: str, host: str, port: str, path: str) -> None:
    url = f"{scheme}://{host}{port}{path}"
    assert redacted(url) == url


@given(st.text())
def test_text_without_a_url_stays_as_it_is(text: str) -> None:
    assume("://" not in text)
    assert redacted(text) == text
