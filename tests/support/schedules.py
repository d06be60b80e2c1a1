"""Scenes and faces for the schedule, without pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fer_edge.settings.pipeline import ScheduleSettings
from fer_edge.stages.schedule.plan import ScheduleState, SearchCost, plan_searches
from fer_edge.stages.schedule.tiles import DetectorProfile, sweep_tiles
from fer_edge.types import Box, SceneMotion, Search, Track

SETTINGS = ScheduleSettings()
SIZE = (640, 480)
MIN_FACE = DetectorProfile(48)
COST = SearchCost()
FACE = Box(200, 100, 80, 80)
TILES = sweep_tiles(SIZE, SETTINGS, MIN_FACE)


def make_track(
    box: Box = FACE, seen: float = 0.0, searched: float | None = None, track_id: int = 1, confirmed: bool = True
) -> Track:
    return Track(track_id, box, seen, confirmed, last_searched=seen if searched is None else searched)


def make_motion(changed_at: float = math.inf, size: tuple[int, int] = SIZE) -> SceneMotion:
    """Return a scene in which everything last changed at ``changed_at``."""
    cells = np.full((30, 40), changed_at)
    return SceneMotion(size, cells, cells.copy())


def run_schedule(
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
        searches, state = plan_searches(motion or make_motion(), tracks(now), now, cost, state, settings, MIN_FACE)
        yield now, searches


def followed(*boxes: Box) -> tuple[Callable[[float], list[Track]], Callable[[tuple[Search, ...], float], None]]:
    """Simulate faces that every search finds.

    Returns:
        A function that returns the tracks at a time, and one to call with the searches made.
    """
    searched = dict.fromkeys(range(1, len(boxes) + 1), 0.0)

    def tracks(now: float) -> list[Track]:
        return [make_track(box, searched[i], track_id=i) for i, box in enumerate(boxes, 1)]

    def made(searches: tuple[Search, ...], now: float) -> None:
        searched.update({search.track_id: now for search in searches if search.track_id is not None})

    return tracks, made
