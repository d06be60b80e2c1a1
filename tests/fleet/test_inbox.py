"""The subscriptions of ``fleet ingest`` at a broker that refuses one at first."""

from __future__ import annotations

import socket
import threading

import pytest

from fer_fleet.inbox import Broker, Inbox
from support.processes.waiting import wait_for

CONNACK = b"\x20\x02\x00\x00"
SUBSCRIBE, SUBACK, REFUSED, GRANTED = 0x82, 0x90, 0x80, 0x01
PUBACK = b"\x40\x02"
PUBLISH = b"\x30\x19\x00\x16fer-edge/a/cam0/events{"
TOPICS = [b"fer-edge/+/+/events", b"fer-edge/+/availability", b"fer-edge/+/$description", b"fer-edge/+/state"]


def test_a_refused_subscription_is_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    asked: list[list[bytes]] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(CONNACK)
            for answers in ([REFUSED, GRANTED, GRANTED, GRANTED], [REFUSED], [GRANTED]):
                packet = connection.recv(4096)
                assert packet[0] == SUBSCRIBE
                asked.append([topic for topic in TOPICS if topic in packet])
                connection.sendall(bytes([SUBACK, 2 + len(answers), *packet[2:4], *answers]))
            connection.sendall(PUBLISH)
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        inbox = Inbox(Broker("127.0.0.1", port), "fer-edge")
        try:
            wait_for(lambda: len(asked) == 3)
            (received,) = inbox.take(1, 10.0)
        finally:
            inbox.close()
        server.join(10)
    assert asked == [TOPICS, TOPICS[:1], TOPICS[:1]]
    assert (received.topic, received.payload) == ("fer-edge/a/cam0/events", b"{")
    where = f"fer-edge: 127.0.0.1:{port}: "
    assert capfd.readouterr().err.splitlines() == [
        f"{where}the broker refuses the subscription to fer-edge/+/+/events; trying again",
        f"{where}subscribed; from now on the broker keeps events for this client",
    ]


def publish(number: int, payload: bytes, *, dup: bool = False) -> bytes:
    body = b"\x00\x16fer-edge/a/cam0/events" + number.to_bytes(2, "big") + payload
    return bytes([0x32 | dup << 3, len(body)]) + body


def test_what_nats_sends_again_is_held_and_acknowledged_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        inbox = Inbox(Broker("127.0.0.1", listener.getsockname()[1]), "fer-edge")
        connection, _ = listener.accept()
        try:
            connection.settimeout(10)
            connection.recv(4096)
            connection.sendall(CONNACK)
            packet = connection.recv(4096)
            connection.sendall(bytes([SUBACK, 6, *packet[2:4], *[GRANTED] * 4]))
            # A message is not acknowledged for a while.
            connection.sendall(publish(1, b"a") + publish(1, b"a", dup=True) + publish(2, b"b"))
            first = inbox.take(10, 2.0)
            assert [message.payload for message in first] == [b"a", b"b"]
            inbox.acknowledge(first)
            assert connection.recv(4) + connection.recv(4) == PUBACK + b"\x00\x01" + PUBACK + b"\x00\x02"
            # The first was sent again when its acknowledgement was on its way, after which its number was free.
            connection.sendall(publish(1, b"a", dup=True) + publish(1, b"c") + publish(1, b"c", dup=True))
            again, new = inbox.take(10, 2.0)
            assert (again.payload, new.payload) == (b"a", b"c")
            inbox.acknowledge([again])
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):  # it would be taken for one of the message that is not stored
                connection.recv(4096)
            inbox.acknowledge([new])
            assert connection.recv(4096) == PUBACK + b"\x00\x01"
        finally:
            inbox.close()
            connection.close()
