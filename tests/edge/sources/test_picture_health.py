"""Health checks of a camera's pictures."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from fer_edge.daemon.loop import MainLoop, Plan
from fer_edge.daemon.outputs import Outputs
from fer_edge.daemon.reports import Report, SourceAlive, SourceEnded, SourceWatched
from fer_edge.daemon.signals import StopRequest
from fer_edge.daemon.worker import SourceWorker, WorkOrder
from fer_edge.errors import SourceLostError
from fer_edge.frames import Limits
from fer_edge.protocols import ClosingSource, FrameSource, NoFrame
from fer_edge.settings.service import RecoverySettings
from fer_edge.sources import Opening, health
from fer_edge.sources.darkness import is_dark
from fer_edge.sources.health import PictureHealth, StuckInTheDarkError, WatchedSource
from fer_edge.sources.opening import Unopened
from fer_edge.telemetry import Telemetry
from fer_edge.types import EmotionEvent, Frame, FrameResult, UInt8Array

SETTINGS = RecoverySettings(dark_after_s=3.0, frozen_after_s=2.0)
RATE = 10.0


def lit(seed: int, size: tuple[int, int] = (64, 48)) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), dtype=np.uint8)


def dark(seed: int) -> UInt8Array:
    """Return the picture of a covered lens: black, with sensor noise."""
    return np.random.default_rng(seed).integers(14, 19, (48, 64), dtype=np.uint8)


def problems(pictures: Sequence[UInt8Array], settings: RecoverySettings = SETTINGS) -> list[tuple[float, str]]:
    health = PictureHealth(settings)
    told = [(index / RATE, health.problem(picture, index / RATE)) for index, picture in enumerate(pictures)]
    return [(at, problem) for at, problem in told if problem is not None]


def darkness(pictures: Sequence[UInt8Array], settings: RecoverySettings = SETTINGS) -> list[bool]:
    """Return whether each picture counted as dark; none of them is a problem."""
    health = PictureHealth(settings)
    states = []
    for index, picture in enumerate(pictures):
        assert health.problem(picture, index / RATE) is None
        states.append(health.dark)
    return states


@given(st.lists(st.integers(0, 1000), unique=True, max_size=80))
def test_lit_and_changing_pictures_are_healthy(seeds: list[int]) -> None:
    assert problems([lit(seed) for seed in seeds]) == []


def test_darkness_is_a_state_not_a_problem() -> None:
    states = darkness([*map(lit, range(5)), *map(dark, range(60)), lit(9), *map(dark, range(20))])
    assert states == [False] * 34 + [True] * 31 + [False] * 21  # after 3 s; light again at once
    assert darkness([*map(dark, range(25)), *map(lit, range(5)), *map(dark, range(25))]) == [False] * 55
    assert not any(darkness([*map(dark, range(60))], RecoverySettings(dark_after_s=0)))


def test_a_dark_picture_without_noise_is_dark_and_not_frozen() -> None:
    assert darkness([np.zeros((48, 64), np.uint8)] * 100)[-1]
    # If darkness is disabled, the same picture is a frozen one.
    assert problems([np.zeros((48, 64), np.uint8)] * 100, RecoverySettings(dark_after_s=0, frozen_after_s=2.0))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (np.full((480, 640), 16, np.uint8), True),
        (np.random.default_rng(0).integers(0, 14, (480, 640), dtype=np.uint8), True),  # sensor noise
        (np.random.default_rng(0).integers(2, 32, (480, 640), dtype=np.uint8), False),  # dim, but not empty
        (np.full((480, 640), 40, np.uint8), False),  # fog is not night
        (lit(1), False),
    ],
)
def test_is_dark(picture: UInt8Array, expected: bool) -> None:
    assert is_dark(picture) is expected


@given(lamp=st.integers(4, 40), masked=st.integers(0, 600))
def test_a_small_light_and_a_masked_zone_change_nothing(lamp: int, masked: int) -> None:
    night = np.random.default_rng(3).integers(14, 19, (480, 640), dtype=np.uint8)
    night[:, :masked] = 0
    assert is_dark(night)
    night[200 : 200 + lamp, 610 : 610 + lamp] = 255
    assert is_dark(night)
    day = np.random.default_rng(3).integers(0, 256, (480, 640), dtype=np.uint8)
    day[:, :masked] = 0
    assert not is_dark(day)


def test_a_frozen_picture_is_reported_in_time_and_one_changed_pixel_resets_it() -> None:
    (at, problem), *_ = problems([lit(1), *[lit(2)] * 60])
    assert (at, problem) == (2.1, "its picture has been the same for 2 s")
    alive = [lit(2) for _ in range(60)]
    for index, picture in enumerate(alive):
        picture[0, 0] = index % 2
    assert problems(alive) == []
    assert problems([lit(2)] * 60, RecoverySettings(frozen_after_s=0)) == []


@given(st.lists(st.tuples(st.integers(16, 64), st.integers(16, 64)), min_size=1, max_size=5))
def test_a_changed_size_is_reported_at_once(sizes: list[tuple[int, int]]) -> None:
    told = problems([lit(index, size) for index, size in enumerate(sizes)])
    changed = [index for index, size in enumerate(sizes) if size != sizes[0]]
    assert [round(at * RATE) for at, _ in told] == changed


class Scripted(ClosingSource):
    """Returns these pictures, then ends."""

    name, live, fps, dropped = "cam", True, RATE, 0

    def __init__(self, pictures: Sequence[UInt8Array]) -> None:
        self._left = iter(enumerate(pictures))

    def read(self, timeout_s: float) -> Frame | NoFrame:
        index, picture = next(self._left, (0, None))
        if picture is None:
            return NoFrame.ENDED
        return Frame(self.name, index, index / RATE, picture)


def read_all(source: WatchedSource) -> list[int]:
    """Return the indices of the frames, until the source is lost."""
    given_frames = []
    with contextlib.suppress(SourceLostError):
        while True:
            frame = source.read(0)
            if isinstance(frame, Frame):
                given_frames.append(frame.index)
    return given_frames


def test_a_lost_camera_is_back_with_the_first_changed_picture() -> None:
    told: list[bool] = []
    pictures = [lit(1), lit(1), lit(1), lit(3), lit(4)]
    source = WatchedSource(Scripted(pictures), SETTINGS, unproven=True, on_watched=told.append)
    assert [source.read(0) for _ in range(3)] == [NoFrame.NOT_YET] * 3  # still as frozen as when it was lost
    assert told == []
    assert read_all(source) == [3, 4]
    assert told == [False]
    with pytest.raises(SourceLostError, match="cam: the stream ended"):
        source.read(0)


def test_a_camera_that_returns_at_night_is_back() -> None:
    told: list[bool] = []
    noisy = WatchedSource(Scripted([*map(dark, range(60))]), SETTINGS, unproven=True, on_watched=told.append)
    assert read_all(noisy)[0] == 1 and told == [False, True]
    told.clear()
    silent = WatchedSource(Scripted([dark(1)] * 60), SETTINGS, unproven=True, on_watched=told.append)
    assert read_all(silent)[0] == 30 and told == [True]


def test_in_the_dark_one_picture_a_second_passes_and_the_first_lit_one_at_once() -> None:
    told: list[bool] = []
    pictures = [*map(lit, range(5)), *map(dark, range(100)), *map(lit, range(5))]
    source = WatchedSource(Scripted(pictures), SETTINGS, on_watched=told.append)
    given_frames = read_all(source)
    assert given_frames[:34] == [*range(34)]  # until it counts as dark
    assert given_frames[34:-5] == [*range(34, 105, 10)]
    assert given_frames[-5:] == [*range(105, 110)]
    assert told == [False, True, False]


@pytest.mark.slow
def test_the_same_dark_picture_for_an_hour_reopens_the_camera() -> None:
    source = WatchedSource(Scripted([dark(1)] * 40_000), SETTINGS)
    with pytest.raises(StuckInTheDarkError):
        for _ in range(40_000):
            source.read(0)
    alive = [dark(index % 2) for index in range(40_000)]
    assert len(read_all(WatchedSource(Scripted(alive), SETTINGS))) > 3600
    told: list[bool] = []
    again = WatchedSource(Scripted([dark(1)] * 3), SETTINGS, dark=True, on_watched=told.append)
    assert read_all(again) == [0] and told == [True]  # it was dark before, and still is


class Unending:
    """A run that reads its source until it is lost, and finds nothing in it."""

    def __init__(self, source: FrameSource) -> None:
        self.resume(source)

    def resume(self, source: FrameSource) -> None:
        self._source = source

    def watch(self, stop: threading.Event, limits: Limits) -> Iterator[FrameResult]:
        with self._source as source:
            while not stop.is_set():
                source.read(0)
        yield from ()


def test_opening_it_again_in_the_dark_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_STUCK_AFTER_S", 60.0)
    stop, opened = threading.Event(), 0

    def connect() -> FrameSource:
        nonlocal opened
        opened += 1
        if opened == 3:
            stop.set()
        return Scripted([dark(1)] * 1000)

    reports: queue.Queue[Report] = queue.Queue()
    open_run: Any = lambda name, source: Unending(source)  # noqa: E731
    order = WorkOrder(open_run, reports, stop, recovery=structs.replace(SETTINGS, reconnect=True))
    SourceWorker(Opening("cam", Unopened(connect)), order).run()
    reported = list(reports.queue)
    assert opened == 3
    assert {type(report) for report in reported} == {SourceWatched, SourceAlive, SourceEnded}
    watched = [report.dark for report in reported if isinstance(report, SourceWatched)]
    assert watched[:2] == [False, True] and all(watched[1:])  # through both openings, until it ends
    assert reported[-1] == SourceEnded("cam", None, mono=reported[-1].mono)


def test_a_camera_that_was_not_lost_passes_its_first_picture() -> None:
    source = WatchedSource(Scripted([dark(1)]), SETTINGS)
    assert isinstance(source.read(0), Frame)


class Beating:
    """A run that gives a result every 20 ms, or hangs until it is released."""

    def __init__(self, hangs: threading.Event | None) -> None:
        self.telemetry, self._hangs = Telemetry(), hangs

    def watch(self, stop: threading.Event, limits: Limits) -> Iterator[FrameResult]:
        if self._hangs is not None:
            self._hangs.wait()
            return
        for index in itertools.takewhile(lambda _: not stop.wait(0.02), itertools.count()):
            yield FrameResult(Frame("a", index, index / 50, lit(0)), (), ())

    def finish(self) -> tuple[EmotionEvent, ...]:
        return ()


def test_the_watchdog_is_fed_only_while_no_source_is_silent_for_too_long() -> None:
    released, fed, now = threading.Event(), [], time.monotonic
    began = now()
    openings = [Opening(name, Scripted([])) for name in "ab"]
    open_run: Any = lambda name, _: Beating(released if name == "b" else None)  # noqa: E731
    stop = StopRequest()

    def on_tick() -> None:
        if now() - began > 1.5:
            released.set()  # "b" ends, and is not waited for any more
        if now() - began > 2.5:
            stop.asked.set()

    loop = MainLoop(openings, open_run, Outputs(), stop, Plan(watchdog_s=0.5))
    assert loop.run(on_tick, lambda: fed.append(now() - began)) is None
    assert any(at < 0.5 for at in fed) and any(at > 1.9 for at in fed)
    assert not any(0.8 < at < 1.5 for at in fed)
