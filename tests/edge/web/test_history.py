"""The history of the last hour: sums, bounded memory, irregular clocks."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fer_edge.types import Box, TrackedEmotion
from fer_edge.web import History


def faces(*emotions: str) -> list[TrackedEmotion]:
    return [TrackedEmotion("cam0", number, Box(0, 0, 9, 9), name, 0.9, 0.0) for number, name in enumerate(emotions)]


def test_a_frame_counts_until_the_next_one() -> None:
    history = History()
    history.add("cam0", faces("happy", "happy", "sad"), 100.0)
    history.add("cam0", faces("sad"), 101.5)
    history.add("cam0", [], 102.0)
    history.add("cam0", [], 103.0)
    (interval,) = history.intervals(103.0)
    assert interval.seconds == {"happy": 3.0, "sad": 2.0}
    assert (interval.watched_s, interval.ended_ago_s) == (3.0, -17.0)


def test_seconds_are_split_between_intervals() -> None:
    history = History()
    history.add("cam0", faces("happy"), 119.0)
    history.add("cam0", faces("happy"), 122.0)
    first, second = history.intervals(125.0)
    assert (first.seconds, second.seconds) == ({"happy": 1.0}, {"happy": 2.0})
    assert (first.ended_ago_s, second.ended_ago_s) == (5.0, -55.0)


def test_an_outage_is_a_gap() -> None:
    history = History()
    history.add("cam0", faces("happy"), 600.0)
    history.add("cam0", [], 840.0)
    history.add("cam0", [], 841.0)
    intervals = history.intervals(841.0)
    assert [interval.seconds for interval in intervals] == [{"happy": 10.0}, {}, {}, {}, {}]
    assert [interval.watched_s for interval in intervals] == [10.0, 0.0, 0.0, 0.0, 1.0]


def test_sources_are_summed() -> None:
    history = History()
    for source in ("cam0", "cam1"):
        history.add(source, faces("happy"), 0.0)
        history.add(source, faces("happy"), 2.0)
    (interval,) = history.intervals(2.0)
    assert (interval.seconds, interval.watched_s) == ({"happy": 4.0}, 4.0)


def test_finished_only_omits_the_running_interval() -> None:
    history = History(300.0, finished_only=True)
    history.add("cam0", faces("happy"), 298.0)
    history.add("cam0", faces("happy"), 299.0)
    assert history.intervals(299.0) == []
    history.add("cam0", faces("happy"), 301.0)
    (interval,) = history.intervals(301.0)
    assert interval.seconds == {"happy": 2.0}


def test_only_the_last_hour_is_kept() -> None:
    history = History()
    for second in range(0, 4 * 3600, 5):
        history.add("cam0", faces("happy"), float(second))
    intervals = history.intervals(4 * 3600.0 - 5)
    assert len(intervals) == 61
    assert sum(interval.seconds["happy"] for interval in intervals) == pytest.approx(3600 + 55)


def test_later_frames_count_after_the_clock_went_back() -> None:
    history = History()
    for second in range(86_400, 86_500):
        history.add("cam0", faces("happy"), float(second))
    for second in range(30):
        history.add("cam0", faces("sad"), float(second))
    assert [interval.seconds for interval in history.intervals(30.0)] == [{"sad": 29.0}]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["cam0", "cam1"]),
            st.lists(st.text(max_size=2), max_size=4),
            st.floats() | st.floats(0, 1e5),
        ),
        max_size=60,
    ),
    st.floats(0, 1e6),
)
@example([("cam0", ["happy"], 1e300), ("cam0", ["happy"], math.nan), ("cam0", ["happy"], -1e300)], 5.0)
def test_no_time_and_no_emotion_raises(frames: list[tuple[str, list[str], float]], now: float) -> None:
    history = History()
    for source, emotions, at in frames:
        history.add(source, faces(*emotions), at)
    intervals = history.intervals(now)
    assert len(intervals) <= 61
    for interval in intervals:
        assert 0 <= interval.watched_s <= 10 * len(frames)
        assert all(seconds >= 0 for seconds in interval.seconds.values())


@given(st.lists(st.floats(0.001, 9.9), min_size=2, max_size=200), st.integers(0, 3))
def test_steady_frames_lose_no_time(steps: list[float], people: int) -> None:
    history = History()
    now = 1000.0
    history.add("cam0", faces(*["happy"] * people), now)
    for step in steps:
        now += step
        history.add("cam0", faces(*["happy"] * people), now)
    intervals = history.intervals(now)
    assert sum(interval.watched_s for interval in intervals) == pytest.approx(sum(steps))
    assert sum(interval.seconds.get("happy", 0) for interval in intervals) == pytest.approx(people * sum(steps))


def test_memory_is_bounded_for_arbitrary_names() -> None:
    history = History()
    for number in range(1000):
        history.add("cam0", faces(f"emotion {number}"), number * 0.01)
    (interval,) = history.intervals(10.0)
    assert len(interval.seconds) <= 65
    assert sum(interval.seconds.values()) == pytest.approx(9.99)
