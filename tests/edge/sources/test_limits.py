"""Limits: how many frames of a source are processed, whatever its clock does."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from fer_edge.frames import Limits, frames_within
from fer_edge.protocols import ClosingSource, NoFrame
from fer_edge.types import Frame

PICTURE = np.zeros((4, 4), np.uint8)


class Times(ClosingSource):
    """A source whose frames have the given times."""

    name, live, fps, dropped = "times", False, 25.0, 0

    def __init__(self, times: Sequence[float]) -> None:
        self._frames = [Frame(self.name, index, at, PICTURE) for index, at in enumerate(times)]

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame."""
        return self._frames.pop(0) if self._frames else NoFrame.ENDED


def taken(times: Sequence[float], limits: Limits) -> list[int]:
    return [frame.index for frame in frames_within(limits, Times(times), threading.Event())]


def test_max_fps_takes_one_frame_per_slot() -> None:
    assert taken([index / 30 for index in range(60)], Limits(max_fps=10)) == list(range(0, 60, 3))


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, math.nan, math.inf, -math.inf])
def test_a_clock_jump_does_not_stop_a_source(jump: float) -> None:
    before, after = [index / 30 for index in range(30)], [1 + index / 30 for index in range(60)]
    jumped = [at + jump for at in after] if math.isfinite(jump) else [jump, *after]
    got = taken([*before, *jumped], Limits(max_fps=10))
    assert 29 <= len(got) <= 32


def test_duration_uses_the_sources_time() -> None:
    assert len(taken([index / 10 for index in range(100)], Limits(duration_s=2.0))) == 20
    assert len(taken([index / 10 for index in range(100)], Limits(max_frames=7))) == 7
