"""Bad messages are rejected with a reason, and nothing that PostgreSQL or an index cannot hold is accepted."""

from __future__ import annotations

import doctest
import json
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from fer_fleet import acl, messages, rate_limit
from fer_fleet.messages import Event, Message, Rejected, Status, parse
from fer_fleet.report import details, listing, targets, top

NOW = datetime(2026, 3, 1, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "v": 1, "kind": "changed", "source": "cam0", "track": 3, "emotion": "happy", "previous": "neutral",
    "confidence": 0.83, "at": "2026-01-01T12:00:00.000Z", "mono": 12.3, "session": "5f0c", "sequence": 17,
}  # fmt: skip


def parsed(payload: bytes, topic: str = "door/cam0/events") -> Message:
    return parse(f"fer-edge/{topic}", payload, NOW, base="fer-edge")


def test_a_good_event() -> None:
    event = parsed(json.dumps({**GOOD, "new_field": 1}).encode())
    assert isinstance(event, Event)
    assert (event.device, event.session, event.sequence, event.at.hour) == ("door", "5f0c", 17, 12)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"session": None}, "not in the format"),
        ({"sequence": 0}, "not in the format"),
        ({"sequence": 2**60}, "not in the format"),
        ({"sequence": 10**40}, "not in the format"),
        ({"track": 2**60}, "not in the format"),
        ({"session": "x" * 65}, "not in the format"),
        ({"source": "x" * 201}, "not in the format"),
        ({"at": "2026-02-30T12:00:00Z"}, "not in the format"),
        ({"kind": "sneezed"}, "not in the format"),
        ({"reason": "\0"}, "null character"),
        ({"reason": "x" * 70_000}, "too large"),
    ],
)
def test_events_that_are_rejected(change: dict[str, Any], reason: str) -> None:
    rejected = parsed(json.dumps({**GOOD, **change}).encode())
    assert rejected == Rejected("door", NOW, reason)


def test_an_event_without_session_is_rejected() -> None:
    older = {key: value for key, value in GOOD.items() if key not in ("session", "sequence")}
    assert parsed(json.dumps(older).encode()) == Rejected("door", NOW, "no session")


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xfe", b'{"x": ' + b"[" * 60_000, b"NaN", b'{"v": 1'])
def test_what_is_not_json_is_rejected(payload: bytes) -> None:
    assert parsed(payload) == Rejected("door", NOW, "invalid JSON")


def test_a_lone_surrogate_is_rejected() -> None:
    rejected = parsed(json.dumps({**GOOD, "source": "\udcff"}).encode())
    assert isinstance(rejected, Rejected) and rejected.reason in ("invalid text", "invalid JSON")


def test_a_description_of_another_device_is_rejected() -> None:
    assert parsed(b'{"name": "yard"}', "door/$description") == Rejected("door", NOW, "device differs from the topic")
    assert isinstance(parsed(b'{"name": "door"}', "door/$description"), Status)


@pytest.mark.parametrize("module", [acl, messages, rate_limit, details, listing, targets, top])
def test_the_examples_of_docstrings_run(module: ModuleType) -> None:
    failed, run = doctest.testmod(module)
    assert (failed, run > 0) == (0, True)


def test_a_long_name_is_cut() -> None:
    assert parsed(b"online", f"{'x' * 300}/availability") == Rejected("x" * 128, NOW, "invalid topic")
