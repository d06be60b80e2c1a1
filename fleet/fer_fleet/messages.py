"""What devices publish, as values that fit the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from fer_edge.sinks.event_json import EventJson
from fer_edge.sinks.mqtt.topics import OFFLINE, ONLINE, topic_level

MAX_PAYLOAD_BYTES = 1 << 16
"""An event has some hundred bytes, and one with counts of many zones some thousand."""
_MAX_NUMBER = 2**53
"""Largest integer that is exact in every JSON reader; less than PostgreSQL's bigint."""
_MAX_LENGTH = {"device": 128, "session": 64, "source": 200, "emotion": 64}
"""In characters. They are in indexes, whose rows PostgreSQL limits to about 2,700 bytes."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of ``device``, and when it was received."""

    device: str
    received: datetime
    at: datetime
    content: EventJson
    counts: str | None
    """``content.counts`` as JSON."""

    @property
    def session(self) -> str:
        """Identifies the run of the program that made the event."""
        return str(self.content.session)

    @property
    def sequence(self) -> int:
        """Number of the event in its session."""
        assert isinstance(self.content.sequence, int)
        return self.content.sequence


@dataclass(frozen=True, slots=True)
class Status:
    """What a device reported about itself; None is what the message does not contain.

    ``live`` is false for what the broker has retained, which says nothing about when the device was last seen.
    """

    device: str
    received: datetime
    live: bool
    online: bool | None = None
    description: str | None = None


class DeviceState(msgspec.Struct, frozen=True):
    """The part that is stored of the state that a device publishes; ``temperature`` is in degrees Celsius."""

    fps: Annotated[float, Meta(ge=0, le=1e6)]
    temperature: Annotated[float, Meta(ge=-300, le=1000)] | None
    throttled: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=16)]


@dataclass(frozen=True, slots=True)
class State:
    """The state of ``device``; ``live`` as in ``Status``."""

    device: str
    received: datetime
    live: bool
    content: DeviceState


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is not stored, and why."""

    device: str
    received: datetime
    reason: str


Message = Event | Status | State | Rejected


class _Description(msgspec.Struct):
    name: str


def parse(topic: str, payload: bytes, received: datetime, *, base: str, live: bool = True) -> Message:
    """Return what ``payload`` means, which was published to ``topic`` below ``base``.

    >>> now = datetime(2026, 1, 1)
    >>> parse("fer-edge/door/availability", b"online", now, base="fer-edge").online
    True
    >>> parse("fer-edge/door/state", b'{"fps": 15, "temperature": 61, "throttled": []}', now, base="fer-edge").content
    DeviceState(fps=15.0, temperature=61.0, throttled=())
    >>> parse("fer-edge/door/cam0/events", b"{", now, base="fer-edge").reason
    'invalid JSON'
    """
    device, levels = split_topic(topic, base)
    reason = "invalid topic"
    try:
        if device and topic.split("/")[base.count("/") + 1] == device:
            return _accepted(device, levels, payload, received, live)
    except msgspec.ValidationError:
        reason = "not in the format"
    except (msgspec.DecodeError, RecursionError):
        reason = "invalid JSON"
    except UnicodeError:  # a lone surrogate, which JSON can contain and PostgreSQL cannot
        reason = "invalid text"
    except ValueError as error:
        reason = str(error)
    return Rejected(device, received, reason)


def split_topic(topic: str, base: str) -> tuple[str, list[str]]:
    """Return the device, whose name is cut if it is too long, and the levels below it.

    >>> split_topic("fer-edge/door/cam0/events", "fer-edge")
    ('door', ['cam0', 'events'])
    """
    device, *levels = topic.removeprefix(f"{base}/").split("/")
    return device[: _MAX_LENGTH["device"]], levels


def _accepted(device: str, levels: list[str], payload: bytes, received: datetime, live: bool) -> Message:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError("too large")
    if levels == ["availability"]:
        return _availability(device, payload, received, live)
    if b"\\u0000" in payload or b"\0" in payload:  # PostgreSQL cannot store it
        raise ValueError("null character")
    if levels == ["$description"]:
        return _description(device, payload, received, live)
    if levels == ["state"]:
        return _state(device, payload, received, live)
    return _event(device, payload, received)


def _availability(device: str, payload: bytes, received: datetime, live: bool) -> Status:
    if payload not in (ONLINE, OFFLINE):
        raise ValueError("not in the format")
    return Status(device, received, live, online=payload == ONLINE)


def _description(device: str, payload: bytes, received: datetime, live: bool) -> Status:
    if topic_level(msgspec.json.decode(payload, type=_Description).name) != device:
        raise ValueError("device differs from the topic")
    text = msgspec.json.encode(msgspec.json.decode(payload)).decode()
    return Status(device, received, live, description=text)


def _state(device: str, payload: bytes, received: datetime, live: bool) -> State:
    content = msgspec.json.decode(payload, type=DeviceState)
    for word in content.throttled:
        word.encode()
    return State(device, received, live, content)


def _event(device: str, payload: bytes, received: datetime) -> Event:
    content = msgspec.json.decode(payload, type=EventJson)
    if content.session is UNSET or content.sequence is UNSET:
        raise ValueError("no session")
    for name, longest in _MAX_LENGTH.items():
        if len(getattr(content, name, None) or "") > longest:
            raise ValueError("not in the format")
    if any(isinstance(n, int) and n > _MAX_NUMBER for n in (content.sequence, content.track, content.faces)):
        raise ValueError("not in the format")
    try:
        at = datetime.fromisoformat(content.at)
    except ValueError:  # such as February 30, or a leap second
        raise ValueError("not in the format") from None
    counts = None if content.counts is UNSET else msgspec.json.encode(content.counts).decode()
    for text in (content.source, content.emotion, content.previous, content.zone, content.reason, content.session):
        if isinstance(text, str):
            text.encode()
    return Event(device, received, at, content, counts)
