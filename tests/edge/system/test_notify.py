"""systemd notifications, read from a real socket like systemd does."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.system.notify import Notifier


@dataclass(frozen=True)
class Listener:
    """Replaces systemd; ``name`` is the value for NOTIFY_SOCKET."""

    name: str
    socket: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))

    def listen(self) -> Listener:
        self.socket.bind(b"\0" + self.name[1:].encode() if self.name.startswith("@") else self.name)
        self.socket.settimeout(60)
        return self

    def environment(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.name, **more}

    def message(self) -> str:
        return self.socket.recv(8192).decode()

    def is_empty(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(8192)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["file", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    name = str(tmp_path / "notify") if request.param == "file" else f"@fer-edge-test-{secrets.token_hex(8)}"
    listening = Listener(name).listen()
    yield listening
    listening.socket.close()


def test_each_message_is_what_systemd_expects(listener: Listener) -> None:
    notifier = Notifier(listener.environment())
    assert notifier.ready() and listener.message() == "READY=1"
    assert notifier.status("watching cam0\nand cam1") and listener.message() == "STATUS=watching cam0 and cam1"
    assert notifier.stopping() and listener.message() == "STOPPING=1"
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notifier.reloading()
    first, second = listener.message().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_watchdog_messages_are_limited_to_one_per_tenth_of_the_time(listener: Listener) -> None:
    notifier = Notifier(listener.environment(WATCHDOG_USEC="600000000", WATCHDOG_PID=str(os.getpid())))
    assert notifier.watchdog_s == 600
    assert notifier.watchdog()
    assert not any(notifier.watchdog() for _ in range(100))
    assert listener.message() == "WATCHDOG=1" and listener.is_empty()
    quick = Notifier(listener.environment(WATCHDOG_USEC="1000"))
    assert quick.watchdog()
    time.sleep(0.001)  # ten times the minimum interval
    assert quick.watchdog()


def test_the_watchdog_time_can_be_raised_but_never_below_the_units(listener: Listener) -> None:
    notifier = Notifier(listener.environment(WATCHDOG_USEC="90000000"))
    assert notifier.extend_watchdog(200.5) and listener.message() == "WATCHDOG_USEC=200500000"
    assert notifier.watchdog_s == 200.5
    assert notifier.extend_watchdog(60) and listener.message() == "WATCHDOG_USEC=90000000"
    assert not notifier.extend_watchdog(50)
    assert not Notifier(listener.environment()).extend_watchdog(60)
    assert listener.is_empty()


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": ""},
    ],
)
def test_a_watchdog_for_another_process_is_ignored(listener: Listener, watchdog: dict[str, str]) -> None:
    notifier = Notifier(listener.environment(**watchdog))
    assert notifier.watchdog_s is None
    assert not notifier.watchdog()
    assert notifier.ready()
    assert listener.message() == "READY=1"


@pytest.mark.parametrize(
    "name", ["", "@", "relative", "vsock:2:1234", "/no/such/socket", "/" + "x" * 300, "@fer-edge-nobody-listens"]
)
def test_without_a_listener_nothing_happens(name: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"})
    sent = [notifier.ready(), notifier.status("x"), notifier.watchdog(), notifier.reloading(), notifier.stopping()]
    assert sent == [False] * 5
    assert not Notifier({"WATCHDOG_USEC": "1000000"}).watchdog()


def test_a_listener_that_does_not_read_does_not_block(listener: Listener) -> None:
    notifier = Notifier(listener.environment())
    sent = 0
    while notifier.status("x"):
        sent += 1
        assert sent < 100_000
    assert sent > 0
    assert not notifier.ready()
    listener.message()  # there is room again
    assert notifier.ready()


@given(text=st.text(st.characters(codec=None), max_size=1000))
def test_any_status_becomes_one_line_of_utf_8(text: str) -> None:
    listening = Listener(f"@fer-edge-test-{secrets.token_hex(8)}").listen()
    with listening.socket:
        assert Notifier(listening.environment()).status(text)
        message = listening.message()  # decodes as strictly as systemd
    assert message.startswith("STATUS=") and message.isprintable() and len(message) < 410


def test_the_process_environment_is_used_and_unchanged(listener: Listener) -> None:
    code = (
        "import os; from fer_edge.system.notify import Notifier; n = Notifier(); n.ready(); n.watchdog();"
        "print(n.watchdog_s, *sorted(k for k in os.environ if k[:5] in ('NOTIF', 'WATCH')))"
    )
    environment = {**os.environ, **listener.environment(WATCHDOG_USEC="90000000")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["90.0", "NOTIFY_SOCKET", "WATCHDOG_USEC"]
    assert [listener.message(), listener.message()] == ["READY=1", "WATCHDOG=1"]
