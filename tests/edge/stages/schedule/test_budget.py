"""The budget of the schedule: it holds at any cost, and nothing starves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from fer_edge.stages.schedule.plan import ScheduleState, SearchCost, plan_searches
from fer_edge.stages.schedule.tiles import sweep_tiles
from fer_edge.types import Box, Search
from support.schedules import COST, FACE, MIN_FACE, SETTINGS, SIZE, TILES, followed, make_motion


@pytest.mark.parametrize("slowness", [1.0, 5.0, 15.0])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_budget_holds_at_any_cost_and_everything_is_searched(slowness: float, share: float) -> None:
    cost = SearchCost(COST.tile * slowness, COST.region * slowness)
    budget = structs.replace(SETTINGS, budget_share=share)
    looks, made = followed(*(Box(100 * i, 50 * i, 80, 80) for i in range(5)))
    spent = longest = 0.0
    state = ScheduleState()
    turns: dict[object, int] = {}
    for index in range(15 * 120):
        now = index / 15
        tracks = [replace(track, matched=True) for track in looks(now)]
        searches, state = plan_searches(make_motion(), tracks, now, cost, state, budget, MIN_FACE)
        made(searches, now)
        if index == 0:
            continue  # the first frame is searched as a whole
        spent += sum(cost.of(search) for search in searches)
        longest = max(longest, *map(cost.of, searches), 0.0)
        for search in searches:
            key = search.track_id or (search.region, search.scale)
            turns[key] = turns.get(key, 0) + 1
    # One search may overdraw the credit, which must recover before the next one.
    assert spent <= share * 120 + longest
    regions = [turns[i] for i in range(1, 6)]
    assert min(regions) >= 0.6 * max(regions) - 1 and min(regions) > 0
    assert len(turns) == 5 + len(sweep_tiles(SIZE, SETTINGS, MIN_FACE))


@pytest.mark.parametrize(
    ("fps", "slowness", "faces", "matched"), [(4, 5, 5, True), (15, 8, 3, False), (5, 8, 2, False)]
)
def test_searches_of_tracks_do_not_starve_tiles(fps: int, slowness: float, faces: int, matched: bool) -> None:
    cost = SearchCost(COST.tile * slowness, COST.region * slowness)
    tracks, made = followed(*(Box(100 * i, 50 * i, 80, 80) for i in range(faces)))
    state, turns = ScheduleState(), dict.fromkeys(TILES, 0)
    for index in range(fps * 60):
        now = index / fps
        changed = [replace(track, matched=matched) for track in tracks(now)]
        searches, state = plan_searches(make_motion(), changed, now, cost, state, SETTINGS, MIN_FACE)
        made(searches, now)
        for search in searches:
            if search.track_id is None:
                turns[replace(search, hidden=())] += 1
    assert min(turns.values()) >= 5


def test_the_frame_budget_is_exceeded_only_by_a_single_search() -> None:
    tracks, made = followed(*(Box(100 * i, 50 * i, 80, 80) for i in range(5)))
    tight = structs.replace(SETTINGS, budget_max_ms=8.0)
    state = ScheduleState()
    for index in range(150):
        now = index / 15
        searches, state = plan_searches(make_motion(), tracks(now), now, COST, state, tight, MIN_FACE)
        made(searches, now)
        assert len(searches) <= 1 or sum(map(COST.of, searches)) <= 8e-3


def test_the_measured_cost_follows_throttling() -> None:
    search, cost = Search(FACE, 1.0, 24, 100, 1), COST
    for _ in range(30):
        cost = cost.measured(search, 0.1)
    assert cost.of(search) == pytest.approx(0.1, rel=0.01) and cost.tile == COST.tile
    for _ in range(30):
        cost = cost.measured(search, 0.01)
    assert cost.of(search) == pytest.approx(0.01, rel=0.05)
    assert cost.measured(Search(Box(0, 0, 0, 0), 1.0, 24), 1.0) == cost
    assert cost.measured(Search(Box(0, 0, 200, 10), 1.0, 24, 1), 1e-6) == cost  # too small for the detector
    assert cost.measured(search, 60.0).of(search) < 2 * cost.of(search)  # one outlier
