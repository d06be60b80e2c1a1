"""The MQTT outbox: order, limit, and which messages are sent twice."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from fer_edge.sinks.base import Pace
from fer_edge.sinks.mqtt.outbox import WINDOW, Message, Outbox


class Sent:
    """A delivery, acknowledged when ``acknowledged`` is set."""

    acknowledged = False

    def is_published(self) -> bool:
        return self.acknowledged


@given(st.lists(st.sampled_from(["put", "send", "acknowledge", "lose"]), max_size=200), st.integers(1, 30))
def test_only_messages_in_flight_are_sent_twice(steps: list[str], max_queued: int) -> None:
    outbox = Outbox(max_queued, pace=Pace(live=True), wake=lambda: None)
    outbox.connected()
    put, losses, arrived, deliveries = 0, 0, [], []

    def publish(message: Message) -> Sent:
        arrived.append(int(message.payload))
        deliveries.append(Sent())
        return deliveries[-1]

    def run(*steps: str) -> None:
        nonlocal put, losses
        for step in steps:
            if step == "put":
                outbox.put(Message("t", b"%d" % put))
                put += 1
            elif step == "send":
                outbox.send_next(publish)
            elif step == "acknowledge" and deliveries:
                deliveries.pop(0).acknowledged = True
                outbox.remove_acknowledged()
            elif step == "lose":
                outbox.disconnected()
                assert not outbox.send_next(publish)
                outbox.connected()
                deliveries.clear()
                losses += 1
            assert len(outbox) <= max_queued + WINDOW

    run(*steps, "lose")
    while len(outbox):
        run("send", "acknowledge")
    firsts = list(dict.fromkeys(arrived))
    assert firsts == sorted(firsts)
    assert len(arrived) - len(firsts) <= WINDOW * losses
    # A dropped message may have arrived before the connection was lost.
    assert outbox.sent + outbox.dropped == put and put - outbox.dropped <= len(firsts)


def test_the_time_without_acknowledgement_is_measured() -> None:
    outbox = Outbox(10, pace=Pace(live=True), wake=lambda: None)
    outbox.connected()
    outbox.put(Message("topic", b"1"))
    assert outbox.unanswered_s() == 0  # queued, but not in flight
    assert not outbox.send_next(lambda message: None)  # not connected
    assert outbox.unanswered_s() == 0
    sent = Sent()
    assert outbox.send_next(lambda message: sent)
    time.sleep(0.05)
    assert outbox.unanswered_s() >= 0.05
    sent.acknowledged = True
    outbox.remove_acknowledged()
    assert outbox.unanswered_s() == 0
