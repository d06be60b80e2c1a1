"""The queue before an output: order, bounds, what is dropped and what waits, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import OutputError
from fer_edge.protocols import ClosingSink
from fer_edge.sinks.pace import Pace
from fer_edge.sinks.queued import NotTakenError, QueuedSink
from fer_edge.types import EmotionEvent
from support.events import numbered
from support.waiting import wait_for


class Store(ClosingSink):
    """A carrier that keeps numbers, once its gate is open; ``broken`` is raised instead, ``refused`` are never."""

    def __init__(self, *, at_once: int = 1000) -> None:
        self.numbers: list[int] = []
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.broken: Exception | None = None
        self.refused: set[int] = set()
        self.attempts = 0
        self.takes_s = 0.0
        self.closed = False
        self._at_once = at_once

    def encode(self, event: EmotionEvent) -> int:
        return int(event.mono)

    def carry(self, items: Sequence[int]) -> int:
        self.attempts += 1
        self.gate.wait()
        time.sleep(self.takes_s)
        if self.broken is not None:
            raise self.broken
        if items[0] in self.refused:
            raise NotTakenError(f"{items[0]} refused")
        taken = items[: self._at_once]
        self.numbers += taken
        self.batches.append(len(taken))
        return len(taken)

    def close(self) -> None:
        self.closed = True


@given(
    count=st.integers(0, 600),
    hold=st.integers(1, 300),
    at_once=st.integers(1, 300),
    refused=st.sets(st.integers(0, 599), max_size=5),
)
def test_a_live_queue_keeps_order_and_bound_and_counts_what_it_drops(
    count: int, hold: int, at_once: int, refused: set[int]
) -> None:
    store = Store(at_once=at_once)
    store.refused = refused
    store.gate.clear()  # nothing goes out while events come
    with QueuedSink(store, "store", hold=hold, pace=Pace(live=True)) as sink:
        for number in range(count):
            sink.emit(numbered(number))
        status = sink.status()
        assert status.waiting <= hold + 256
        assert status.waiting + status.dropped == count
        store.gate.set()
    status = sink.status()
    lost = set(range(count)) - set(store.numbers)
    assert store.numbers == sorted(store.numbers)
    assert store.numbers[-hold:] == [n for n in range(count) if n in set(store.numbers)][-hold:]
    assert not set(range(max(0, count - hold), count)) & lost - refused  # the newest are never dropped
    assert (status.sent, status.dropped, status.waiting) == (count - len(lost), len(lost), 0)
    assert store.closed


@given(count=st.integers(0, 300), hold=st.integers(1, 50), at_once=st.integers(1, 60))
def test_files_wait_and_nothing_is_lost(count: int, hold: int, at_once: int) -> None:
    store = Store(at_once=at_once)
    with QueuedSink(store, "store", hold=hold, pace=Pace(live=False)) as sink:
        for number in range(count):
            sink.emit(numbered(number))
            assert sink.status().waiting <= hold + 256
    assert store.numbers == list(range(count))
    assert sink.status().dropped == 0


def test_files_wait_for_an_output_that_is_stuck() -> None:
    store = Store()
    store.gate.clear()
    sink = QueuedSink(store, "store", hold=2, pace=Pace(live=False))
    done: list[int] = []

    def produce() -> None:
        for number in range(6):
            sink.emit(numbered(number))
            done.append(number)

    producer = threading.Thread(target=produce)
    producer.start()
    wait_for(lambda: sink.status().waiting >= 3)
    producer.join(0.2)
    assert producer.is_alive() and len(done) < 6
    store.gate.set()
    producer.join(60)
    sink.close()
    assert store.numbers == list(range(6))


def test_an_outage_is_waited_out_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    store = Store()
    store.broken = OutputError("store: disk full")
    with QueuedSink(store, "store", hold=3, pace=Pace(live=True), retry_most_s=1.0) as sink:
        sink.emit(numbered(0))
        wait_for(lambda: not sink.status().working)
        assert sink.status().problem == "store: disk full"
        for number in range(1, 6):
            sink.emit(numbered(number))
        assert (sink.status().waiting, sink.status().dropped) == (3, 3)
        store.broken = None
        wait_for(lambda: store.numbers == [3, 4, 5])
        wait_for(lambda: sink.status().working)
    assert (
        capfd.readouterr().err == "fer-edge: store: disk full\nfer-edge: store: works again; 3 events dropped so far\n"
    )


def test_without_retries_a_failure_ends_it() -> None:
    store = Store()
    store.broken = OutputError("store: disk full")
    sink = QueuedSink(store, "store", hold=3, pace=Pace(live=True))
    sink.emit(numbered(0))
    wait_for(lambda: not sink.status().working)
    for attempt in (lambda: sink.emit(numbered(1)), lambda: sink.record(None)):  # type: ignore[arg-type]
        with pytest.raises(OutputError, match="disk full"):
            attempt()
    sink.close()  # it was told already


def test_a_reader_that_has_gone_ends_what_is_no_service() -> None:
    store = Store()
    store.broken = BrokenPipeError()
    sink = QueuedSink(store, "store", hold=3, pace=Pace(live=True))
    sink.emit(numbered(0))
    with pytest.raises(BrokenPipeError):
        sink.close()
    sink.close()


def test_closing_gives_up_in_time_and_tells_what_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    store = Store()
    store.broken = OutputError("store: gone")
    sink = QueuedSink(store, "store", hold=9, pace=Pace(live=True, drain_s=1.5), retry_most_s=600.0)
    for number in range(4):
        sink.emit(numbered(number))
    wait_for(lambda: not sink.status().working)
    began = time.monotonic()
    sink.close()
    assert 1.0 < time.monotonic() - began < 30
    assert store.attempts > 3  # tried again until the end
    assert capfd.readouterr().err == "fer-edge: store: gone\nfer-edge: store: gone; 4 events were not passed on\n"
    assert sink.status().dropped == 4


def test_an_output_that_takes_nothing_is_given_up() -> None:
    store = Store()
    store.gate.clear()
    sink = QueuedSink(store, "store", hold=9, pace=Pace(live=True, drain_s=0.5))
    sink.emit(numbered(0))
    with pytest.raises(OutputError, match=r"store: takes nothing more.*given up; 1 event was not passed on"):
        sink.close()
    store.gate.set()


def test_files_wait_to_the_end_for_an_output_that_is_slow() -> None:
    store = Store(at_once=1)
    store.takes_s = 0.1
    with QueuedSink(store, "store", hold=100, pace=Pace(live=False, drain_s=0.5), retry_most_s=1.0) as sink:
        for number in range(20):
            sink.emit(numbered(number))
    assert store.numbers == list(range(20))


def test_files_wait_no_more_once_the_end_was_asked_for() -> None:
    store, stop = Store(), threading.Event()
    store.gate.clear()
    sink = QueuedSink(store, "store", hold=2, pace=Pace(live=False, stop=stop, drain_s=0.5), retry_most_s=1.0)

    def produce() -> None:
        for number in range(9):
            sink.emit(numbered(number))

    producer = threading.Thread(target=produce)
    producer.start()
    wait_for(lambda: sink.status().waiting >= 3)
    producer.join(0.5)
    assert producer.is_alive()
    stop.set()
    producer.join(60)
    assert not producer.is_alive()
    with pytest.raises(OutputError, match="not passed on"):
        sink.close()
    assert sink.status().dropped == 9
    store.gate.set()


def test_files_whose_events_are_lost_end_with_a_failure() -> None:
    store = Store()
    store.broken = OutputError("store: gone")
    sink = QueuedSink(store, "store", hold=9, pace=Pace(live=False, drain_s=0.5), retry_most_s=1.0)
    sink.emit(numbered(0))
    with pytest.raises(OutputError, match="store: gone; 1 event was not passed on"):
        sink.close()


def test_events_are_gathered_into_few_writes() -> None:
    store = Store()
    with QueuedSink(store, "store", hold=1000, pace=Pace(live=True), gather_s=0.5) as sink:
        for number in range(50):
            sink.emit(numbered(number))
        wait_for(lambda: store.numbers)
        for number in range(50, 100):
            sink.emit(numbered(number))
    assert store.numbers == list(range(100))
    assert len(store.batches) <= 4  # two, unless this machine stood still


def test_what_is_gathered_is_written_before_it_must_be_dropped() -> None:
    store = Store()
    with QueuedSink(store, "store", hold=10, pace=Pace(live=True), gather_s=3600) as sink:
        for number in range(40):
            sink.emit(numbered(number))
            wait_for(lambda: sink.status().waiting < 10)
    assert store.numbers == list(range(40))


def test_what_nobody_reads_any_more_is_an_outage_of_a_service() -> None:
    store = Store()
    store.broken = BrokenPipeError()
    with QueuedSink(store, "store", hold=10, pace=Pace(live=True), retry_most_s=0.1) as sink:
        sink.emit(numbered(1))
        wait_for(lambda: not sink.status().working)
        assert sink.status().problem == "store: nobody reads it any more"
        sink.emit(numbered(2))  # and the service goes on
        store.broken = None
        wait_for(lambda: store.numbers == [1, 2])
