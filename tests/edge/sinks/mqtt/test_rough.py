"""MQTT with brokers that send unrequested data: none of it is kept in memory."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fer_edge.doctor.checks import Verdict
from fer_edge.doctor.network import check_broker
from fer_edge.sinks import open_sinks
from fer_edge.sinks.mqtt.client import MAX_PACKET_BYTES
from fer_edge.status import StatusBoard
from support.processes.waiting import wait_for
from support.results.events import numbered
from support.results.findings import assert_found, context_of
from support.servers.mosquitto import settings_for, status_of

CONNACK = b"\x20\x02\x00\x00"
STATUS = b"\x00\x14homeassistant/status"
MIB = 1 << 20


def packet(kind: int, length: int) -> bytes:
    """The header of an MQTT 3.1.1 packet (section 2.2.3)."""
    header = bytearray([kind])
    while True:
        length, digit = divmod(length, 128)
        header.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(header)


class RoughBroker:
    """A broker that accepts every connection and sends ``pieces``; ``sent`` counts the bytes of each connection."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]], hello: bytes) -> None:
        self._pieces, self._hello = pieces, hello
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.sent: list[int] = []
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    self.sent.append(0)
                    connection.settimeout(10)
                    connection.recv(4096)
                    connection.sendall(self._hello)
                    for piece in self._pieces():
                        connection.sendall(piece)
                        self.sent[-1] += len(piece)


@contextmanager
def rough_broker(pieces: Callable[[], Iterator[bytes]], hello: bytes = CONNACK) -> Iterator[RoughBroker]:
    broker = RoughBroker(pieces, hello)
    try:
        yield broker
    finally:
        broker.close()


def one_of_200_mib() -> Iterator[bytes]:
    yield packet(0x30, 200 * MIB) + STATUS
    for _ in range(200):
        yield bytes(MIB)


def many_that_are_never_released() -> Iterator[bytes]:
    for number in range(1, 3000):
        yield packet(0x34, len(STATUS) + 2 + 60_000) + STATUS + number.to_bytes(2, "big") + bytes(60_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        (one_of_200_mib, f"the broker sends a packet of {200 * MIB} bytes; up to 65536 are accepted"),
        (many_that_are_never_released, "the broker sends messages with QoS 2"),
    ],
)
def test_a_flood_ends_the_connection(
    pieces: Callable[[], Iterator[bytes]], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    board = StatusBoard()
    with rough_broker(pieces) as broker, open_sinks(settings_for(broker.port), board, live=True) as sinks:
        sinks.emit(numbered(1))
        wait_for(lambda: says in str(status_of(board).problem))
        wait_for(lambda: len(broker.sent) >= 2)  # it connects again
        assert broker.sent[0] < 16 * MIB, "what the sockets hold, but not all of it"
    said = capfd.readouterr().err
    assert f"mqtt: 127.0.0.1:{broker.port}: the connection is lost: {says}" in said
    assert "another client" not in said


def test_what_home_assistant_sends_is_taken() -> None:
    def retained() -> Iterator[bytes]:
        yield packet(0x30, 65536) + STATUS + bytes(65536 - len(STATUS))
        yield packet(0x30, len(STATUS) + 6) + STATUS + b"online"
        threading.Event().wait(3)

    board = StatusBoard()
    with rough_broker(retained) as broker, open_sinks(settings_for(broker.port), board, live=True):
        wait_for(lambda: status_of(board).working)
        wait_for(lambda: broker.sent and broker.sent[0] > 65536)
        assert status_of(board).working and len(broker.sent) == 1


def test_doctor_refuses_a_large_packet_too(tmp_path: Path) -> None:
    with rough_broker(one_of_200_mib, hello=b"") as broker:
        context = context_of(tmp_path, f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n', timeout_s=20.0)
        says = f"the broker sends a packet of {200 * MIB} bytes; up to {MAX_PACKET_BYTES} are accepted"
        assert_found(check_broker(context), Verdict.BAD, says)
        assert broker.sent[0] < 16 * MIB, "what the sockets hold, but not all of it"
