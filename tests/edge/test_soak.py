"""The short version of ``make soak``: a few thousand frames leak no memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

import soak


@pytest.mark.slow
def test_thousands_of_frames_leave_nothing_behind() -> None:
    samples = list(soak.run(frames=8 * soak.ROUND_FRAMES, every=2 * soak.ROUND_FRAMES))
    assert soak.problems(samples) == []
    # The faces were detected and appeared in each round, and an event reported each one that left.
    assert samples[-1].ids >= 8 and samples[-1].events >= 16


def test_growth_would_be_noticed() -> None:
    rounds = [soak.Sample(index * soak.ROUND_FRAMES, 80.0, 5000, 2, 2 * index, 8 * index) for index in range(1, 6)]
    assert soak.problems(rounds) == []
    grown = {"rss_mib": 90.0, "objects": 9000, "ids": 300, "tracks": 3}
    for field, value in grown.items():
        assert len(soak.problems([*rounds[:-1], replace(rounds[-1], **{field: value})])) == 1, field
