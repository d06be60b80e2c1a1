"""Simulated devices: MQTT 3.1.1 over asyncio, as much of it as the sink of a real device uses.

A thread or paho client for each of 10,000 devices would need more memory and processor time than the parts that are
measured. The messages are those of the real device, and so is their handling: QoS 1, retained states, a last will, and
after an outage everything again, in order, that was not acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
import time
from collections import OrderedDict

from fer_edge.sinks.event_json import encode_json
from fer_edge.types import EmotionEvent, EventKind

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _DISCONNECT = 0x10, 0x20, 0x30, 0x40, 0xE0
_QOS_1, _RETAIN = 0x02, 0x01
_CLEAN_SESSION, _WILL = 0x02, 0x04
STATE_EVERY_S = 60.0
_KEEPALIVE_S = 90
"""More than the time between two states, so that no pings are needed."""
_MAX_RETRY_S = 5.0


class Device(asyncio.Protocol):
    """A device of the fleet. ``sent`` events have a number; ``waiting`` of them are not acknowledged."""

    def __init__(self, name: str, port: int) -> None:
        self.name, self.sent = name, 0
        self.waiting: OrderedDict[int, tuple[str, bytes, bool]] = OrderedDict()
        self._port = port
        self._session = f"{random.getrandbits(64):016x}"
        self._transport: asyncio.WriteTransport | None = None
        self._packet = 0
        self._received = bytearray()
        self._connected = self._leaving = False
        self._stated_at = time.monotonic() + random.uniform(0, STATE_EVERY_S)

    async def run(self) -> None:
        """Connect, and again whenever the connection is lost, until ``leave``."""
        loop = asyncio.get_running_loop()
        while not self._leaving:
            self._lost = loop.create_future()
            try:
                await loop.create_connection(lambda: self, "127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(random.uniform(1.0, _MAX_RETRY_S))
                continue
            await self._lost
            if not self._leaving:
                await asyncio.sleep(random.uniform(0.1, _MAX_RETRY_S))

    def emit(self) -> None:
        """Publish the next event."""
        self.sent += 1
        event = EmotionEvent(
            EventKind.CHANGED, "cam0", time.time(), time.monotonic(), 1 + self.sent // 5, "happy", "neutral", 0.83,
            session=self._session, sequence=self.sent,
        )  # fmt: skip
        self._publish("cam0/events", encode_json(event))

    @property
    def done(self) -> bool:
        """Whether it is connected, and the broker has acknowledged everything."""
        return self._connected and not self.waiting

    def tick(self, now: float) -> None:
        """Publish the state of the device if it is time."""
        if not self._connected or now < self._stated_at:
            return
        self._stated_at = now + STATE_EVERY_S
        self._publish("state", b'{"fps":15,"temperature":%d,"throttled":[]}' % random.randint(45, 65), retain=True)

    def leave(self) -> None:
        """Disconnect for good."""
        self._leaving = True
        if self._transport is not None:
            self._transport.write(bytes((_DISCONNECT, 0)))
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log in."""
        assert isinstance(transport, asyncio.WriteTransport)
        if self._leaving:
            transport.close()
            return
        self._transport = transport
        self._received.clear()
        flags = _CLEAN_SESSION | _WILL | _QOS_1 << 2 | _RETAIN << 5
        will = _text(f"fer-edge/{self.name}/availability") + _text("offline")
        header = _text("MQTT") + bytes((4, flags)) + struct.pack(">H", _KEEPALIVE_S)
        transport.write(_packet(_CONNECT, header + _text(f"fer-edge-{self.name}") + will))

    def connection_lost(self, error: Exception | None) -> None:
        """Let ``run`` connect again."""
        self._connected, self._transport = False, None
        if not self._lost.done():
            self._lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Handle acknowledgements, the only packets that a device without subscriptions gets."""
        self._received += data
        while len(self._received) >= 2 and len(self._received) >= 2 + self._received[1]:
            kind, length = self._received[0], self._received[1]
            body = bytes(self._received[2 : 2 + length])
            del self._received[: 2 + length]
            if kind == _CONNACK:
                self._accepted(body[1])
            elif kind == _PUBACK:
                self.waiting.pop(int.from_bytes(body, "big"), None)

    def _accepted(self, code: int) -> None:
        assert code == 0, f"the broker refuses {self.name}: {code}"
        self._connected = True
        before = [message for message in self.waiting.values() if not message[2]]
        self.waiting.clear()
        about = {"v": 1, "name": self.name, "version": "0.1.0", "sources": ["cam0"], "session": self._session}
        about |= {
            "model": {"name": "fer-edge-s", "version": "1.4.0", "variant": "int8"},
            "settings": "5f0c8d21a94b7e36",
        }
        self._publish("availability", b"online", retain=True)
        self._publish("$description", json.dumps(about).encode(), retain=True)
        self._publish("state", b'{"fps":15,"temperature":61,"throttled":[]}', retain=True)
        for topic, payload, retain in before:
            self._publish(topic, payload, retain=retain)

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._packet = self._packet % 0xFFFF + 1
        self.waiting[self._packet] = topic, payload, retain
        if self._connected and self._transport is not None and not self._transport.is_closing():
            header = _text(f"fer-edge/{self.name}/{topic}") + struct.pack(">H", self._packet)
            self._transport.write(_packet(_PUBLISH | _QOS_1 | (_RETAIN if retain else 0), header + payload))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _packet(kind: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while True:
        left, digit = left >> 7, left & 0x7F
        length.append(digit | (0x80 if left else 0))
        if not left:
            return bytes((kind,)) + bytes(length) + body
