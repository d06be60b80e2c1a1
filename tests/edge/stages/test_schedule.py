"""The schedule: faces in regions, the whole frame in tiles, static parts rarely, all within the budget."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from fer_edge.settings.pipeline import DetectorSettings, ScheduleSettings
from fer_edge.stages.schedule import (
    MASK_SIDE,
    RETRY_INTERVAL_S,
    DetectorProfile,
    ScheduleState,
    SearchCost,
    plan_searches,
    sweep_tiles,
)
from fer_edge.types import Box, SceneMotion, Search, Track

SETTINGS = ScheduleSettings()
SIZE = (640, 480)
MIN_FACE = DetectorProfile(48)
COST = SearchCost()
FACE = Box(200, 100, 80, 80)
TILES = sweep_tiles(SIZE, SETTINGS, MIN_FACE)


def _track(
    box: Box = FACE, seen: float = 0.0, searched: float | None = None, track_id: int = 1, confirmed: bool = True
) -> Track:
    return Track(track_id, box, seen, confirmed, last_searched=seen if searched is None else searched)


def _motion(changed_at: float = math.inf, size: tuple[int, int] = SIZE) -> SceneMotion:
    """Return a scene in which everything last changed at ``changed_at``."""
    cells = np.full((30, 40), changed_at)
    return SceneMotion(size, cells, cells.copy())


Plan = list[tuple[float, tuple[Search, ...]]]


def _run(
    fps: float,
    seconds: float,
    tracks: Callable[[float], Sequence[Track]] = lambda now: (),
    motion: SceneMotion | None = None,
    cost: SearchCost = COST,
    settings: ScheduleSettings = SETTINGS,
) -> Iterator[tuple[float, tuple[Search, ...]]]:
    state = ScheduleState()
    for index in range(round(fps * seconds)):
        now = index / fps
        searches, state = plan_searches(motion or _motion(), tracks(now), now, cost, state, settings, MIN_FACE)
        yield now, searches


def _followed(*boxes: Box) -> tuple[Callable[[float], list[Track]], Callable[[tuple[Search, ...], float], None]]:
    """Simulate faces that every search finds.

    Returns:
        A function that returns the tracks at a time, and one to call with the searches made.
    """
    searched = dict.fromkeys(range(1, len(boxes) + 1), 0.0)

    def tracks(now: float) -> list[Track]:
        return [_track(box, searched[i], track_id=i) for i, box in enumerate(boxes, 1)]

    def made(searches: tuple[Search, ...], now: float) -> None:
        searched.update({search.track_id: now for search in searches if search.track_id is not None})

    return tracks, made


# Tiles


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
    for now, searches in _run(fps, 10):
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
    for _, searches in _run(15, 1, settings=structs.replace(SETTINGS, max_acquire_s=0.0, budget_share=1.0), cost=CHEAP):
        assert [search.region for search in searches] == [Box(0, 0, *SIZE)]


CHEAP = SearchCost(1e-6, 1e-6)


@pytest.mark.parametrize("size", [(1920, 1080), (480, 640)])  # the second one has the same number of tiles
def test_a_frame_of_another_size_restarts_the_search(size: tuple[int, int]) -> None:
    state = ScheduleState(1.0, 0.1, (1.0,) * len(TILES), SIZE)
    searches, _ = plan_searches(_motion(size=size), [], 1.0, COST, state, SETTINGS, MIN_FACE)
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
    tracks, made = _followed(FACE)
    state = ScheduleState()
    for now in (0.0, 0.1, 0.2, 5.0, 1e9, 1e308):
        searches, state = plan_searches(_motion(-10.0), tracks(now), now, COST, state, zeros, MIN_FACE)
        made(searches, now)


def test_a_track_outside_the_frame_is_searched_until_it_ends() -> None:
    state = ScheduleState(0.9, 0.1, (1.0,) * len(TILES), SIZE)
    searches, _ = plan_searches(_motion(-10.0), [_track(Box(900, 100, 80, 80))], 1.0, COST, state, SETTINGS, MIN_FACE)
    assert [search.track_id for search in searches] == [1]


# Regions


def _around(track: Track, now: float = 1.0) -> Search:
    state = ScheduleState(now - 0.1, 0.1, (now,) * len(sweep_tiles(SIZE, SETTINGS, MIN_FACE)), SIZE)
    (search,), _ = plan_searches(_motion(), [track], now, COST, state, SETTINGS, MIN_FACE)
    return search


def test_a_tracked_face_is_searched_around_its_position_and_size() -> None:
    search = _around(_track(seen=0.9))
    assert (search.track_id, search.known) == (1, True)
    assert search.region == FACE.grown(SETTINGS.region_margin + 0.1 * SETTINGS.region_growth)
    assert search.scale * FACE.width == pytest.approx(SETTINGS.face_px)
    assert search.max_face is not None and search.min_face < FACE.width < search.max_face
    assert search.min_face * search.scale >= 24


def test_every_second_search_of_a_tile_has_intermediate_sizes() -> None:
    profile = DetectorProfile.of(DetectorSettings(scale_factor=1.21))
    state, scales = ScheduleState(), {}
    for index in range(60):
        searches, state = plan_searches(_motion(), (), index / 15, COST, state, SETTINGS, profile)
        for search in searches:
            scales.setdefault((search.region, search.max_face), []).append(search.scale)
    assert len(scales) == len(sweep_tiles(SIZE, SETTINGS, profile))
    for tried in scales.values():
        assert len(tried) >= 3
        assert all(min(pair) / max(pair) == pytest.approx(1 / 1.1) for pair in itertools.pairwise(tried))


def test_searches_of_whole_frames_do_not_alternate() -> None:
    whole = structs.replace(SETTINGS, max_acquire_s=0.0)
    plans = [searches for _, searches in _run(15, 1, settings=whole)]
    assert len(set(plans)) == 1
    assert DetectorProfile.of(DetectorSettings(kind="yunet", model="m.onnx")).alternate_zoom == 1.0


def test_a_tile_hides_only_the_followed_faces() -> None:
    followed = _track(FACE, seen=0.9)
    new = _track(Box(400, 100, 80, 80), seen=0.9, track_id=2, confirmed=False)
    lost = _track(Box(100, 300, 80, 80), seen=0.5, searched=0.9, track_id=3)
    state = ScheduleState(0.9, 1.0, (-math.inf,) * len(TILES), SIZE)
    searches, _ = plan_searches(_motion(), [followed, new, lost], 1.0, COST, state, SETTINGS, MIN_FACE)
    hidden = {search.hidden for search in searches if search.track_id is None}
    assert hidden == {(FACE.grown(MASK_SIDE),)}
    assert all(search.hidden == () for search in searches if search.track_id is not None)
    whole = structs.replace(SETTINGS, max_acquire_s=0.0)
    searches, _ = plan_searches(_motion(), [followed], 1.0, COST, ScheduleState(), whole, MIN_FACE)
    assert all(search.hidden == () for search in searches)


def test_a_small_face_is_not_enlarged() -> None:
    assert _around(_track(Box(10, 10, 30, 30))).scale == 1.0


def test_a_lost_face_is_searched_at_once_in_a_growing_region() -> None:
    searches = [_around(_track(seen=0.9 - gone, searched=0.9)) for gone in (0.05, 0.15, 0.25, 0.35)]
    widths = [search.region.width for search in searches]
    assert widths == sorted(set(widths))
    steady = _around(_track(seen=0.9))
    assert searches[0].region.width > steady.region.width
    assert searches[0].min_face < steady.min_face
    assert all(search.min_face * search.scale >= 24 for search in searches)


@pytest.mark.parametrize(
    ("state", "least", "most"),
    [
        ({"matched": True}, 1 / SETTINGS.search_interval_s, 1.5 / SETTINGS.search_interval_s),
        ({"matched": False}, 29, 30),  # the template does not match: the cascade must decide
        ({"matched": True, "last_seen": -1.0}, 0.8 / RETRY_INTERVAL_S, 1.2 / RETRY_INTERVAL_S),
        ({"matched": False, "last_seen": -1.0}, 0.8 / RETRY_INTERVAL_S, 1.2 / RETRY_INTERVAL_S),
        ({"matched": False, "confirmed": False}, 29, 30),
    ],
)
def test_search_rate_of_a_face(state: dict[str, float], least: float, most: float) -> None:
    tracks, made = _followed(FACE)
    count = 0
    schedule = ScheduleState()
    for index in range(120):
        now = index / 30
        changed = [replace(track, **state) for track in tracks(now)]
        searches, schedule = plan_searches(_motion(), changed, now, COST, schedule, SETTINGS, MIN_FACE)
        made(searches, now)
        count += any(search.track_id for search in searches)
    assert 4 * least - 1 <= count <= 4 * most + 1


# Motion


def test_a_static_scene_is_searched_rarely() -> None:
    tracks, made = _followed(FACE)
    counts = {"tile": 0, "region": 0}
    state, still = ScheduleState(), _motion(changed_at=-10.0)
    tiles = len(sweep_tiles(SIZE, SETTINGS, MIN_FACE))
    for index in range(15 * 60):
        now = index / 15
        there = [replace(track, matched=True) for track in tracks(now)]
        searches, state = plan_searches(still, there, now, COST, state, SETTINGS, MIN_FACE)
        made(searches, now)
        counts["tile"] += sum(search.track_id is None for search in searches)
        counts["region"] += sum(search.track_id is not None for search in searches)
    turns = 60 / SETTINGS.still_search_interval_s
    assert turns * 0.8 <= counts["region"] <= turns * 1.2
    assert tiles * turns * 0.8 <= counts["tile"] <= tiles * (turns * 1.2 + 1)


def test_an_unmatched_face_in_a_static_scene_is_searched() -> None:
    searches, _ = plan_searches(
        _motion(changed_at=-10.0),
        [_track(seen=0.6)],
        1.0,
        COST,
        ScheduleState(0.9, 1.0, (1.0,) * 6, SIZE),
        SETTINGS,
        MIN_FACE,
    )
    assert [search.track_id for search in searches] == [1]


def test_only_changed_tiles_are_searched() -> None:
    cells = np.full((30, 40), -10.0)
    cells[2:5, 2:5] = math.inf  # the upper left corner
    motion = SceneMotion(SIZE, cells, cells)
    searched = [search for now, found in _run(15, 3.5, motion=motion) if now > 1 for search in found]
    assert searched and all(search.region.x < 80 and search.region.y < 80 for search in searched)


def test_without_a_threshold_static_parts_are_searched_as_well() -> None:
    still = _motion(changed_at=-10.0)
    off = structs.replace(SETTINGS, motion_threshold=0.0)
    gated = sum(len(found) for _, found in _run(15, 10, motion=still))
    assert sum(len(found) for _, found in _run(15, 10, motion=still, settings=off)) > 3 * gated


# Budget


@pytest.mark.parametrize("slowness", [1.0, 5.0, 15.0])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_budget_holds_at_any_cost_and_everything_is_searched(slowness: float, share: float) -> None:
    cost = SearchCost(COST.tile * slowness, COST.region * slowness)
    budget = structs.replace(SETTINGS, budget_share=share)
    looks, made = _followed(*(Box(100 * i, 50 * i, 80, 80) for i in range(5)))
    spent = longest = 0.0
    state = ScheduleState()
    turns: dict[object, int] = {}
    for index in range(15 * 120):
        now = index / 15
        tracks = [replace(track, matched=True) for track in looks(now)]
        searches, state = plan_searches(_motion(), tracks, now, cost, state, budget, MIN_FACE)
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
    tracks, made = _followed(*(Box(100 * i, 50 * i, 80, 80) for i in range(faces)))
    state, turns = ScheduleState(), dict.fromkeys(TILES, 0)
    for index in range(fps * 60):
        now = index / fps
        changed = [replace(track, matched=matched) for track in tracks(now)]
        searches, state = plan_searches(_motion(), changed, now, cost, state, SETTINGS, MIN_FACE)
        made(searches, now)
        for search in searches:
            if search.track_id is None:
                turns[replace(search, hidden=())] += 1
    assert min(turns.values()) >= 5


def test_the_frame_budget_is_exceeded_only_by_a_single_search() -> None:
    tracks, made = _followed(*(Box(100 * i, 50 * i, 80, 80) for i in range(5)))
    tight = structs.replace(SETTINGS, budget_max_ms=8.0)
    state = ScheduleState()
    for index in range(150):
        now = index / 15
        searches, state = plan_searches(_motion(), tracks(now), now, COST, state, tight, MIN_FACE)
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


# Arbitrary states


boxes = st.builds(Box, st.integers(-50, 700), st.integers(-50, 500), st.integers(1, 600), st.integers(1, 600))
any_tracks = st.lists(
    st.builds(
        Track, st.integers(1, 9), boxes, st.floats(0, 100), st.booleans(), st.none(), st.floats(0, 100),
        st.floats(0, 1e6),
    ),
    max_size=5,
    unique_by=lambda track: track.track_id,
)  # fmt: skip
times = st.floats(0, 100) | st.sampled_from([0.0, 1e9])
states = st.builds(
    ScheduleState,
    st.none() | times,
    st.floats(-1e3, 1e3),
    st.lists(times, min_size=len(TILES), max_size=len(TILES)).map(tuple),
    st.just(SIZE),
) | st.just(ScheduleState())


@settings(max_examples=200)
@given(any_tracks, times, states, st.floats(-10, 110))
def test_any_state_gives_a_valid_and_reproducible_plan(
    tracks: list[Track], now: float, state: ScheduleState, changed_at: float
) -> None:
    motion = _motion(changed_at)
    searches, after = plan_searches(motion, tracks, now, COST, state, SETTINGS, MIN_FACE)
    assert (searches, after) == plan_searches(motion, tracks, now, COST, state, SETTINGS, MIN_FACE)
    ids = [search.track_id for search in searches if search.track_id is not None]
    assert len(set(ids)) == len(ids) and set(ids) <= {track.track_id for track in tracks}
    for search in searches:
        assert 0 < search.scale <= 1 and search.region.clipped(*SIZE) == search.region
    assert after.at == now and math.isfinite(after.credit_s)
    assert after.credit_s <= 0.5 * max(0.2, now - (state.at if state.at is not None else now))
    assert len(after.tiles_at) == len(sweep_tiles(SIZE, SETTINGS, MIN_FACE))
