"""The subscriptions of ``fleet ingest`` at a broker that refuses one at first."""

from __future__ import annotations

import socket
import threading

import pytest

from fer_fleet.inbox import Broker, Inbox
from support.processes.waiting import wait_for

CONNACK = b"\x20\x02\x00\x00"
SUBSCRIBE, SUBACK, REFUSED, GRANTED = 0x82, 0x90, 0x80, 0x01
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
