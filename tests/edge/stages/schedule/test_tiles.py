"""Tiles of the schedule: the whole frame is searched in parts, each in time."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from fer_edge.stages.schedule.plan import ScheduleState, SearchCost, plan_searches
from fer_edge.stages.schedule.tiles import DetectorProfile, sweep_tiles
from fer_edge.types import Box, Search
from support.schedules import (
    COST,
    FACE,
    MIN_FACE,
    SETTINGS,
    SIZE,
    TILES,
    followed,
    make_motion,
    make_track,
    run_schedule,
)


@given(
    size=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    width=st.integers(100, 800),
    min_face=st.integers(8, 400),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_any_face_is_complete_in_a_tile_that_searches_for_its_size(
    size: tuple[int, int], width: int, min_face: int, where: tuple[float, float, float]
) -> None:
    tiles = sweep_tiles(size, structs.replace(SETTINGS, full_search_width_px=width), DetectorProfile(min_face))
    smallest, largest = math.ceil(tiles[0].min_face), min(size)
    assert smallest >= min_face - 1 and all(24 / tile.min_face - 1e-9 <= tile.scale <= 1 for tile in tiles)
    if smallest > largest:
        return
    side = smallest + int(where[0] * (largest - smallest))
    x, y = (int(share * (length - side)) for share, length in zip(where[1:], size, strict=True))
    assert any(
        tile.min_face <= side <= (tile.max_face or math.inf)
        and tile.region.x <= x
        and tile.region.y <= y
        and x + side <= tile.region.x + tile.region.width
        and y + side <= tile.region.y + tile.region.height
        for tile in tiles
    )


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (1280, 720), (1920, 1080), (480, 640)])
def test_no_tile_dominates_the_cost(size: tuple[int, int]) -> None:
    work = [tile.megapixels for tile in sweep_tiles(size, SETTINGS, MIN_FACE)]
    assert max(work) <= max(0.04, 0.4 * sum(work))


@pytest.mark.parametrize("fps", [1, 5, 15, 30, 60])
def test_every_tile_is_searched_in_time_and_no_frame_searches_all(fps: int) -> None:
    tiles = sweep_tiles(SIZE, SETTINGS, MIN_FACE)
    searched: dict[Search, list[float]] = {tile: [] for tile in tiles}
    most = 0
    for now, searches in run_schedule(fps, 10):
        most = max(most, len(searches)) if now > 0 else 0
        for search in searches:
            searched[search].append(now)
    # Below one frame per second, the best possible interval is every frame.
    allowed = max(SETTINGS.max_acquire_s, 1 / fps) + 1e-9
    for times in searched.values():
        assert all(after - before <= allowed for before, after in itertools.pairwise(times))
        assert times[0] <= allowed and 10 - times[-1] <= allowed + 1 / fps
    if fps >= 15:
        assert most <= 2  # except in the first frame


def test_acquire_within_0_searches_every_frame_as_a_whole() -> None:
    for _, searches in run_schedule(
        15, 1, settings=structs.replace(SETTINGS, max_acquire_s=0.0, budget_share=1.0), cost=CHEAP
    ):
        assert [search.region for search in searches] == [Box(0, 0, *SIZE)]


CHEAP = SearchCost(1e-6, 1e-6)


@pytest.mark.parametrize("size", [(1920, 1080), (480, 640)])  # the second one has the same number of tiles
def test_a_frame_of_another_size_restarts_the_search(size: tuple[int, int]) -> None:
    state = ScheduleState(1.0, 0.1, (1.0,) * len(TILES), SIZE)
    searches, _ = plan_searches(make_motion(size=size), [], 1.0, COST, state, SETTINGS, MIN_FACE)
    assert searches


@given(
    look=st.sampled_from([0.0, 0.12]),
    still=st.sampled_from([0.0, 5.0]),
    acquire=st.sampled_from([0.0, 1.0]),
    threshold=st.sampled_from([0.0, 4.0]),
)
def test_zero_settings_are_valid(look: float, still: float, acquire: float, threshold: float) -> None:
    zeros = structs.replace(
        SETTINGS,
        search_interval_s=look,
        still_search_interval_s=still,
        max_acquire_s=acquire,
        motion_threshold=threshold,
    )
    tracks, made = followed(FACE)
    state = ScheduleState()
    for now in (0.0, 0.1, 0.2, 5.0, 1e9, 1e308):
        searches, state = plan_searches(make_motion(-10.0), tracks(now), now, COST, state, zeros, MIN_FACE)
        made(searches, now)


def test_a_track_outside_the_frame_is_searched_until_it_ends() -> None:
    state = ScheduleState(0.9, 0.1, (1.0,) * len(TILES), SIZE)
    searches, _ = plan_searches(
        make_motion(-10.0), [make_track(Box(900, 100, 80, 80))], 1.0, COST, state, SETTINGS, MIN_FACE
    )
    assert [search.track_id for search in searches] == [1]
