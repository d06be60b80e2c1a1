"""The plan of a frame: faces in regions, static parts rarely, and valid for any state."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.stages.schedule.plan import MASK_SIDE, RETRY_INTERVAL_S, ScheduleState, plan_searches
from fer_edge.stages.schedule.tiles import DetectorProfile, sweep_tiles
from fer_edge.types import Box, SceneMotion, Search, Track
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

# Regions


def _around(track: Track, now: float = 1.0) -> Search:
    state = ScheduleState(now - 0.1, 0.1, (now,) * len(sweep_tiles(SIZE, SETTINGS, MIN_FACE)), SIZE)
    (search,), _ = plan_searches(make_motion(), [track], now, COST, state, SETTINGS, MIN_FACE)
    return search


def test_a_tracked_face_is_searched_around_its_position_and_size() -> None:
    search = _around(make_track(seen=0.9))
    assert (search.track_id, search.known) == (1, True)
    assert search.region == FACE.grown(SETTINGS.region_margin + 0.1 * SETTINGS.region_growth)
    assert search.scale * FACE.width == pytest.approx(SETTINGS.face_px)
    assert search.max_face is not None and search.min_face < FACE.width < search.max_face
    assert search.min_face * search.scale >= 24


def test_every_second_search_of_a_tile_has_intermediate_sizes() -> None:
    profile = DetectorProfile.of(DetectorSettings(scale_factor=1.21))
    state, scales = ScheduleState(), {}
    for index in range(60):
        searches, state = plan_searches(make_motion(), (), index / 15, COST, state, SETTINGS, profile)
        for search in searches:
            scales.setdefault((search.region, search.max_face), []).append(search.scale)
    assert len(scales) == len(sweep_tiles(SIZE, SETTINGS, profile))
    for tried in scales.values():
        assert len(tried) >= 3
        assert all(min(pair) / max(pair) == pytest.approx(1 / 1.1) for pair in itertools.pairwise(tried))


def test_searches_of_whole_frames_do_not_alternate() -> None:
    whole = structs.replace(SETTINGS, max_acquire_s=0.0)
    plans = [searches for _, searches in run_schedule(15, 1, settings=whole)]
    assert len(set(plans)) == 1
    assert DetectorProfile.of(DetectorSettings(kind="yunet", model="m.onnx")).alternate_zoom == 1.0


def test_a_tile_hides_only_the_followed_faces() -> None:
    followed = make_track(FACE, seen=0.9)
    new = make_track(Box(400, 100, 80, 80), seen=0.9, track_id=2, confirmed=False)
    lost = make_track(Box(100, 300, 80, 80), seen=0.5, searched=0.9, track_id=3)
    state = ScheduleState(0.9, 1.0, (-math.inf,) * len(TILES), SIZE)
    searches, _ = plan_searches(make_motion(), [followed, new, lost], 1.0, COST, state, SETTINGS, MIN_FACE)
    hidden = {search.hidden for search in searches if search.track_id is None}
    assert hidden == {(FACE.grown(MASK_SIDE),)}
    assert all(search.hidden == () for search in searches if search.track_id is not None)
    whole = structs.replace(SETTINGS, max_acquire_s=0.0)
    searches, _ = plan_searches(make_motion(), [followed], 1.0, COST, ScheduleState(), whole, MIN_FACE)
    assert all(search.hidden == () for search in searches)


def test_a_small_face_is_not_enlarged() -> None:
    assert _around(make_track(Box(10, 10, 30, 30))).scale == 1.0


def test_a_lost_face_is_searched_at_once_in_a_growing_region() -> None:
    searches = [_around(make_track(seen=0.9 - gone, searched=0.9)) for gone in (0.05, 0.15, 0.25, 0.35)]
    widths = [search.region.width for search in searches]
    assert widths == sorted(set(widths))
    steady = _around(make_track(seen=0.9))
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
    tracks, made = followed(FACE)
    count = 0
    schedule = ScheduleState()
    for index in range(120):
        now = index / 30
        changed = [replace(track, **state) for track in tracks(now)]
        searches, schedule = plan_searches(make_motion(), changed, now, COST, schedule, SETTINGS, MIN_FACE)
        made(searches, now)
        count += any(search.track_id for search in searches)
    assert 4 * least - 1 <= count <= 4 * most + 1


# Motion


def test_a_static_scene_is_searched_rarely() -> None:
    tracks, made = followed(FACE)
    counts = {"tile": 0, "region": 0}
    state, still = ScheduleState(), make_motion(changed_at=-10.0)
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
        make_motion(changed_at=-10.0),
        [make_track(seen=0.6)],
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
    searched = [search for now, found in run_schedule(15, 3.5, motion=motion) if now > 1 for search in found]
    assert searched and all(search.region.x < 80 and search.region.y < 80 for search in searched)


def test_without_a_threshold_static_parts_are_searched_as_well() -> None:
    still = make_motion(changed_at=-10.0)
    off = structs.replace(SETTINGS, motion_threshold=0.0)
    gated = sum(len(found) for _, found in run_schedule(15, 10, motion=still))
    assert sum(len(found) for _, found in run_schedule(15, 10, motion=still, settings=off)) > 3 * gated


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
    motion = make_motion(changed_at)
    searches, after = plan_searches(motion, tracks, now, COST, state, SETTINGS, MIN_FACE)
    assert (searches, after) == plan_searches(motion, tracks, now, COST, state, SETTINGS, MIN_FACE)
    ids = [search.track_id for search in searches if search.track_id is not None]
    assert len(set(ids)) == len(ids) and set(ids) <= {track.track_id for track in tracks}
    for search in searches:
        assert 0 < search.scale <= 1 and search.region.clipped(*SIZE) == search.region
    assert after.at == now and math.isfinite(after.credit_s)
    assert after.credit_s <= 0.5 * max(0.2, now - (state.at if state.at is not None else now))
    assert len(after.tiles_at) == len(sweep_tiles(SIZE, SETTINGS, MIN_FACE))
