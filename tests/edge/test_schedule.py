"""Where to look: the whole frame seldom, each face in a region that grows while it is not found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.config import ScheduleSettings
from fer_edge.schedule import Search, nominal_full_search_cost, plan_searches
from fer_edge.types import Box, EmotionProbabilities, Track

SETTINGS = ScheduleSettings()
SIZE = (640, 480)


def _track(box: Box, last_seen: float = 0.0) -> Track:
    return Track(1, box, EmotionProbabilities(np.full(7, 1 / 7, np.float32)), last_seen, True)


def _plan(tracks: list[Track], now: float, last_full: float | None, cost_s: float = 0.01) -> tuple[Search, ...]:
    return plan_searches(SIZE, tracks, now, last_full, cost_s, SETTINGS)


def test_the_first_frame_is_searched_whole_and_reduced() -> None:
    assert _plan([], 0.0, None) == (Search(None, 0.5),)


def test_a_tracked_face_is_looked_for_around_its_place_only() -> None:
    box = Box(200, 100, 72, 72)
    (search,) = _plan([_track(box)], 0.0, 0.0)
    assert search.region == box.grown(SETTINGS.region_margin)
    assert search.scale * box.width == pytest.approx(SETTINGS.face_px)
    assert search.min_face is not None and search.max_face is not None
    assert search.min_face < box.width < search.max_face


def test_a_small_face_is_not_enlarged() -> None:
    (search,) = _plan([_track(Box(10, 10, 30, 30))], 0.0, 0.0)
    assert search.scale == 1.0


def test_the_whole_frame_comes_round_while_faces_are_tracked() -> None:
    track = _track(Box(200, 100, 72, 72))
    every = SETTINGS.full_search_every_s
    assert [search.region is None for search in _plan([track], every - 0.01, 0.0)] == [False]
    assert [search.region is None for search in _plan([track], every, 0.0)] == [True, False]


def test_the_region_of_a_lost_face_grows() -> None:
    track = _track(Box(200, 100, 72, 72), last_seen=0.0)
    widths = []
    for now in (0.0, 0.3, 0.6, 0.9):
        (search,) = _plan([track], now, now)
        assert search.region is not None
        widths.append(search.region.width)
    assert widths == sorted(set(widths))


@pytest.mark.parametrize(("cost_s", "due"), [(0.01, True), (1.0, False)])
def test_a_slow_machine_searches_the_whole_frame_less_often(cost_s: float, due: bool) -> None:
    assert bool(_plan([], 0.5, 0.0, cost_s)) is due
    # and comes to it in the end
    assert _plan([], 2.1, 0.0, cost_s)


def test_the_nominal_cost_is_of_the_reduced_frame() -> None:
    assert nominal_full_search_cost((640, 480), SETTINGS) == pytest.approx(
        nominal_full_search_cost((1280, 960), SETTINGS)
    )


@given(
    st.lists(
        st.builds(
            _track,
            st.builds(Box, st.integers(-50, 700), st.integers(-50, 500), st.integers(1, 600), st.integers(1, 600)),
            st.floats(0, 100),
        ),
        max_size=4,
    ),
    st.floats(0, 100),
    st.none() | st.floats(0, 100),
)
def test_every_track_has_its_search_and_every_scale_is_sound(
    tracks: list[Track], now: float, last_full: float | None
) -> None:
    searches = _plan(tracks, now, last_full)
    regions = [search for search in searches if search.region is not None]
    assert len(regions) == len(tracks) and len(searches) - len(regions) in (0, 1)
    assert all(0 < search.scale <= 1 for search in searches)
    assert searches == _plan(tracks, now, last_full)
