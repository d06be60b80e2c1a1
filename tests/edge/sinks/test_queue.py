"""The queue of a sink: order, limits, dropped events, waiting callers, and closing."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import OutputError
from fer_edge.protocols import ClosingSink
from fer_edge.sinks.base import Pace
from fer_edge.sinks.queued import Batching, EventRejectedError, QueuedSink
from fer_edge.types import EmotionEvent
from support.processes.waiting import wait_for
from support.results.events import numbered


def encode(event: EmotionEvent) -> bytes:
    return b"%d" % int(event.mono)


class Store(ClosingSink):
    """A transport that stores numbers while its gate is open; raises ``broken`` if set, and rejects ``refused``."""

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

    def send(self, events: Sequence[bytes]) -> int:
        items = [int(event) for event in events]
        self.attempts += 1
        self.gate.wait()
        time.sleep(self.takes_s)
        if self.broken is not None:
            raise self.broken
        if items[0] in self.refused:
            raise EventRejectedError(f"{items[0]} refused")
        taken = items[: self._at_once]
        self.numbers += taken
        self.batches.append(len(taken))
        return len(taken)

    def close(self) -> None:
        self.closed = True


@given(
    count=st.integers(0, 600),
    max_queued=st.integers(1, 300),
    at_once=st.integers(1, 300),
    refused=st.sets(st.integers(0, 599), max_size=5),
)
def test_a_live_queue_keeps_order_and_bound_and_counts_what_it_drops(
    count: int, max_queued: int, at_once: int, refused: set[int]
) -> None:
    store = Store(at_once=at_once)
    store.refused = refused
    store.gate.clear()  # nothing is sent while events are emitted
    with QueuedSink(store, encode, "store", max_queued=max_queued, pace=Pace(live=True)) as sink:
        for number in range(count):
            sink.emit(numbered(number))
        status = sink.status()
        assert status.waiting <= max_queued + 256
        assert status.waiting + status.dropped == count
        store.gate.set()
    status = sink.status()
    lost = set(range(count)) - set(store.numbers)
    assert store.numbers == sorted(store.numbers)
    assert store.numbers[-max_queued:] == [n for n in range(count) if n in set(store.numbers)][-max_queued:]
    assert not set(range(max(0, count - max_queued), count)) & lost - refused  # the newest are never dropped
    assert (status.sent, status.dropped, status.waiting) == (count - len(lost), len(lost), 0)
    assert store.closed


@given(count=st.integers(0, 300), max_queued=st.integers(1, 50), at_once=st.integers(1, 60))
def test_file_sources_wait_and_lose_nothing(count: int, max_queued: int, at_once: int) -> None:
    store = Store(at_once=at_once)
    with QueuedSink(store, encode, "store", max_queued=max_queued, pace=Pace(live=False)) as sink:
        for number in range(count):
            sink.emit(numbered(number))
            assert sink.status().waiting <= max_queued + 256
    assert store.numbers == list(range(count))
    assert sink.status().dropped == 0


def test_file_sources_wait_for_a_stuck_output() -> None:
    store = Store()
    store.gate.clear()
    sink = QueuedSink(store, encode, "store", max_queued=2, pace=Pace(live=False))
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


def test_an_outage_is_waited_out_and_reported(capfd: pytest.CaptureFixture[str]) -> None:
    store = Store()
    store.broken = OutputError("store: disk full")
    with QueuedSink(store, encode, "store", max_queued=3, pace=Pace(live=True), max_retry_s=1.0) as sink:
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


def test_without_retries_a_failure_ends_the_sink() -> None:
    store = Store()
    store.broken = OutputError("store: disk full")
    sink = QueuedSink(store, encode, "store", max_queued=3, pace=Pace(live=True))
    sink.emit(numbered(0))
    wait_for(lambda: not sink.status().working)
    for attempt in (lambda: sink.emit(numbered(1)), lambda: sink.record(None)):  # type: ignore[arg-type]
        with pytest.raises(OutputError, match="disk full"):
            attempt()
    sink.close()  # already reported


def test_without_retries_a_closed_pipe_ends_the_sink() -> None:
    store = Store()
    store.broken = BrokenPipeError()
    sink = QueuedSink(store, encode, "store", max_queued=3, pace=Pace(live=True))
    sink.emit(numbered(0))
    with pytest.raises(BrokenPipeError):
        sink.close()
    sink.close()


def test_closing_gives_up_in_time_and_reports_lost_events(capfd: pytest.CaptureFixture[str]) -> None:
    store = Store()
    store.broken = OutputError("store: gone")
    sink = QueuedSink(store, encode, "store", max_queued=9, pace=Pace(live=True, drain_s=1.5), max_retry_s=600.0)
    for number in range(4):
        sink.emit(numbered(number))
    wait_for(lambda: not sink.status().working)
    began = time.monotonic()
    sink.close()
    assert 1.0 < time.monotonic() - began < 30
    assert store.attempts > 3  # retried until the end
    assert capfd.readouterr().err == "fer-edge: store: gone\nfer-edge: store: gone; 4 events were lost\n"
    assert sink.status().dropped == 4


def test_closing_gives_up_on_a_stuck_output() -> None:
    store = Store()
    store.gate.clear()
    sink = QueuedSink(store, encode, "store", max_queued=9, pace=Pace(live=True, drain_s=0.5))
    sink.emit(numbered(0))
    with pytest.raises(OutputError, match=r"store: blocked \(a pipe that nothing reads\?\); 1 event was lost"):
        sink.close()
    store.gate.set()


def test_closing_waits_for_a_slow_output_if_not_live() -> None:
    store = Store(at_once=1)
    store.takes_s = 0.1
    with QueuedSink(
        store, encode, "store", max_queued=100, pace=Pace(live=False, drain_s=0.5), max_retry_s=1.0
    ) as sink:
        for number in range(20):
            sink.emit(numbered(number))
    assert store.numbers == list(range(20))


def test_file_sources_stop_waiting_after_a_stop() -> None:
    store, stop = Store(), threading.Event()
    store.gate.clear()
    sink = QueuedSink(
        store, encode, "store", max_queued=2, pace=Pace(live=False, stop=stop, drain_s=0.5), max_retry_s=1.0
    )

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
    with pytest.raises(OutputError, match="events were lost"):
        sink.close()
    assert sink.status().dropped == 9
    store.gate.set()


def test_lost_events_of_a_file_source_are_an_error() -> None:
    store = Store()
    store.broken = OutputError("store: gone")
    sink = QueuedSink(store, encode, "store", max_queued=9, pace=Pace(live=False, drain_s=0.5), max_retry_s=1.0)
    sink.emit(numbered(0))
    with pytest.raises(OutputError, match="store: gone; 1 event was lost"):
        sink.close()


def test_events_are_gathered_into_few_writes() -> None:
    store = Store()
    with QueuedSink(store, encode, "store", max_queued=1000, pace=Pace(live=True), batching=Batching(0.5)) as sink:
        for number in range(50):
            sink.emit(numbered(number))
        wait_for(lambda: store.numbers)
        for number in range(50, 100):
            sink.emit(numbered(number))
    assert store.numbers == list(range(100))
    assert len(store.batches) <= 4  # two, unless the machine is very slow


def test_gathered_events_are_written_before_the_queue_is_full() -> None:
    store = Store()
    with QueuedSink(store, encode, "store", max_queued=10, pace=Pace(live=True), batching=Batching(3600)) as sink:
        for number in range(40):
            sink.emit(numbered(number))
            wait_for(lambda: sink.status().waiting < 10)
    assert store.numbers == list(range(40))


def test_with_retries_a_closed_pipe_is_an_outage() -> None:
    store = Store()
    store.broken = BrokenPipeError()
    with QueuedSink(store, encode, "store", max_queued=10, pace=Pace(live=True), max_retry_s=0.1) as sink:
        sink.emit(numbered(1))
        wait_for(lambda: not sink.status().working)
        assert sink.status().problem == "store: its reader has closed it"
        sink.emit(numbered(2))  # the service continues
        store.broken = None
        wait_for(lambda: store.numbers == [1, 2])
