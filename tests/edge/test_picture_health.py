"""What a camera's pictures tell of the camera."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import SourceLostError
from fer_edge.progress import Progress
from fer_edge.service_config import RecoverySettings
from fer_edge.sources.base import ClosingSource, NoFrame
from fer_edge.sources.health import PictureHealth, WatchedSource
from fer_edge.types import Frame, UInt8Array

SETTINGS = RecoverySettings(black_after_s=3.0, frozen_after_s=2.0)
RATE = 10.0


def lit(seed: int, size: tuple[int, int] = (64, 48)) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), dtype=np.uint8)


def dark(seed: int) -> UInt8Array:
    """A covered lens: black, with a sensor's noise."""
    return np.random.default_rng(seed).integers(14, 19, (48, 64), dtype=np.uint8)


def problems(pictures: Sequence[UInt8Array], settings: RecoverySettings = SETTINGS) -> list[tuple[float, str]]:
    health = PictureHealth(settings)
    told = [(index / RATE, health.problem(picture, index / RATE)) for index, picture in enumerate(pictures)]
    return [(at, problem) for at, problem in told if problem is not None]


@given(st.lists(st.integers(0, 1000), unique=True, max_size=80))
def test_pictures_that_differ_and_are_lit_are_well(seeds: list[int]) -> None:
    assert problems([lit(seed) for seed in seeds]) == []


def test_black_is_told_in_its_time_and_not_of_a_moment() -> None:
    (at, problem), *_ = problems([*map(lit, range(5)), *map(dark, range(60))])
    assert (at, problem) == (3.4, "its pictures have been black for 3 s")
    assert problems([*map(dark, range(25)), *map(lit, range(5)), *map(dark, range(25))]) == []
    assert problems([*map(dark, range(60))], RecoverySettings(black_after_s=0)) == []


def test_frozen_is_told_in_its_time_and_one_pixel_of_noise_is_life() -> None:
    (at, problem), *_ = problems([lit(1), *[lit(2)] * 60])
    assert (at, problem) == (2.1, "its picture has been the same for 2 s")
    alive = [lit(2) for _ in range(60)]
    for index, picture in enumerate(alive):
        picture[0, 0] = index % 2
    assert problems(alive) == []
    assert problems([lit(2)] * 60, RecoverySettings(frozen_after_s=0)) == []


@given(st.lists(st.tuples(st.integers(16, 64), st.integers(16, 64)), min_size=1, max_size=5))
def test_another_size_is_told_at_once(sizes: list[tuple[int, int]]) -> None:
    told = problems([lit(index, size) for index, size in enumerate(sizes)])
    changed = [index for index, size in enumerate(sizes) if size != sizes[0]]
    assert [round(at * RATE) for at, _ in told] == changed


class Scripted(ClosingSource):
    """Gives these pictures, and ends."""

    name, live, fps, dropped = "cam", True, RATE, 0

    def __init__(self, pictures: Sequence[UInt8Array]) -> None:
        self._left = list(enumerate(pictures))

    def read(self, timeout_s: float) -> Frame | NoFrame:
        if not self._left:
            return NoFrame.ENDED
        index, picture = self._left.pop(0)
        return Frame(self.name, index, index / RATE, picture)


def test_a_camera_that_was_lost_is_back_with_the_first_good_picture() -> None:
    told: list[int] = []
    pictures = [dark(1), dark(2), lit(3), lit(4)]
    source = WatchedSource(Scripted(pictures), SETTINGS, unproven=True, on_proven=lambda: told.append(1))
    assert [source.read(0) for _ in range(2)] == [NoFrame.NOT_YET] * 2
    assert told == []
    frame = source.read(0)
    assert isinstance(frame, Frame) and frame.index == 2
    assert isinstance(source.read(0), Frame)
    assert told == [1]
    with pytest.raises(SourceLostError, match="cam: the stream ended"):
        source.read(0)


def test_a_camera_that_was_not_lost_gives_its_first_picture_whatever_it_is() -> None:
    source = WatchedSource(Scripted([dark(1)]), SETTINGS)
    assert isinstance(source.read(0), Frame)


def test_progress_feeds_only_while_all_get_on() -> None:
    fed = threading.Semaphore(0)
    progress = Progress(["a", "b"], fed.release, within_s=0.2)
    progress.beat("a")
    assert fed.acquire(timeout=0)
    threading.Event().wait(0.3)  # "b" is stuck
    progress.beat("a")
    assert not fed.acquire(timeout=0)
    progress.ended("b")
    progress.beat("a")
    assert fed.acquire(timeout=0)
