"""The thread that reads a source: only the newest frame is kept, and what comes late is skipped."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fer_edge.errors import SourceLostError
from fer_edge.protocols import ClosingSource, NoFrame
from fer_edge.sources.newest import NewestFrameSource
from fer_edge.types import Frame


class FaultyCamera(ClosingSource):
    """A camera that returns ``good`` frames and then hangs or fails, like a driver after an unplug."""

    name, live, fps, dropped = "video9", True, 30.0, 0

    def __init__(self, good: int, *, hangs: bool) -> None:
        self.good, self.given, self.hangs = good, 0, hangs
        self.silent, self.unplugged = threading.Event(), threading.Event()

    def read(self, timeout_s: float) -> Frame | NoFrame:
        if self.given < self.good:
            self.given += 1
            return Frame(self.name, self.given - 1, time.monotonic(), np.zeros((4, 4), np.uint8))
        self.silent.set()
        if self.hangs:
            self.unplugged.wait(30)
        raise SourceLostError("video9: the camera stopped sending frames")

    def close(self) -> None:
        self.unplugged.set()


def test_a_hanging_camera_does_not_block_and_is_lost_in_time() -> None:
    camera = FaultyCamera(1, hangs=True)
    with NewestFrameSource(camera, lost_after_s=2.0) as source:
        assert isinstance(source.read(60.0), Frame)
        began = time.monotonic()
        assert source.read(0.05) is NoFrame.NOT_YET
        with pytest.raises(SourceLostError, match="no frame for"):
            while True:
                source.read(0.05)
        assert 1.9 < time.monotonic() - began < 20  # the camera hangs for 30 s
        camera.unplugged.set()


def test_frames_before_the_first_read_are_neither_fresh_nor_dropped() -> None:
    camera = FaultyCamera(5, hangs=True)
    with NewestFrameSource(camera) as source:
        assert camera.silent.wait(60)  # as if a model was loaded, or an output opened
        first = source.read(60.0)
        assert isinstance(first, Frame)
        assert (first.index, source.dropped) == (4, 0)
        camera.close()


def test_frames_dropped_by_the_source_are_counted_too() -> None:
    camera = FaultyCamera(5, hangs=True)
    camera.dropped = 3  # damaged frames
    with NewestFrameSource(camera) as source:
        assert camera.silent.wait(60)
        assert isinstance(source.read(60.0), Frame)
        assert source.dropped == 3
        camera.close()


def read_all(source: NewestFrameSource) -> list[Frame]:
    frames = []
    while (frame := source.read(60.0)) is not NoFrame.ENDED:
        if isinstance(frame, Frame):
            frames.append(frame)
    return frames


class LateFrames(ClosingSource):
    """Frames that were taken ``lags_s[i]`` seconds before they can be read, one each hundredth of a second."""

    name, fps, live, still, dropped = "late", 30.0, True, False, 0

    def __init__(self, lags_s: Sequence[float]) -> None:
        self.lags_s = lags_s
        self.given = 0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        time.sleep(0.01)
        if self.given == len(self.lags_s):
            return NoFrame.ENDED
        self.given += 1
        return Frame("late", self.given - 1, time.monotonic() - self.lags_s[self.given - 1], np.zeros((4, 4), np.uint8))


def test_frames_that_come_late_are_skipped_and_counted() -> None:
    with NewestFrameSource(LateFrames([0.0] * 20 + [5.0] * 20 + [0.0] * 20)) as source:
        frames = read_all(source)
        assert not {frame.index for frame in frames} & set(range(20, 40))
        assert 20 <= source.dropped <= 60 - len(frames)  # without those before the first read


def test_of_a_source_that_is_always_late_a_frame_is_seen_now_and_then_and_the_last() -> None:
    with NewestFrameSource(LateFrames([0.0] * 10 + [5.0] * 250)) as source:
        frames = [frame for frame in read_all(source) if frame.index >= 10]
        assert frames[-1].index == 259
        assert 2 <= len(frames) <= 20
        assert all(frame.glass_at is not None and frame.glass_at == frame.captured_at for frame in frames)


class SlowFilm(LateFrames):
    """A film of 20 pictures per second that takes a second longer to decode in the middle."""

    live, fps = False, 20.0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        if self.given == 10:
            time.sleep(1.0)
        frame = super().read(timeout_s)
        return replace(frame, captured_at=frame.index / self.fps) if isinstance(frame, Frame) else frame


class DemandingFilm(SlowFilm):
    """One whose pictures take longer to decode than they are shown."""

    def read(self, timeout_s: float) -> Frame | NoFrame:
        time.sleep(0.07)
        return super().read(timeout_s)


@pytest.mark.slow
def test_a_film_that_cannot_be_decoded_in_time_is_delayed() -> None:
    with NewestFrameSource(DemandingFilm([0.0] * 60), paced=True) as source:
        ages = {}
        while (frame := source.read(60.0)) is not NoFrame.ENDED:
            if isinstance(frame, Frame) and frame.glass_at is not None:
                ages[frame.index] = time.monotonic() - frame.glass_at
        assert source.dropped == 60 - len(ages) >= 20
    assert len(ages) >= 5
    assert statistics.median(ages.values()) < 0.3


def test_a_film_that_is_paced_catches_up() -> None:
    with NewestFrameSource(SlowFilm([0.0] * 60), paced=True) as source:
        ages = {}
        while (frame := source.read(60.0)) is not NoFrame.ENDED:
            if isinstance(frame, Frame):
                assert frame.glass_at is not None
                ages[frame.index] = time.monotonic() - frame.glass_at
        assert source.dropped == 60 - len(ages) >= 10
    assert ages[59] < 0.5  # a second, if nothing was skipped
    assert 10 not in ages


def test_close_waits_for_a_hanging_camera_once() -> None:
    camera = FaultyCamera(0, hangs=True)
    source = NewestFrameSource(camera)
    assert camera.silent.wait(60)
    source.close()
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 1
    camera.close()


def test_the_last_frame_of_a_lost_camera_is_delivered() -> None:
    with NewestFrameSource(FaultyCamera(1, hangs=False)) as source:
        time.sleep(0.1)
        assert isinstance(source.read(5.0), Frame)
        with pytest.raises(SourceLostError, match="stopped"):
            while True:
                source.read(1.0)
