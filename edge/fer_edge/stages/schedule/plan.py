"""Choose the searches of a frame: which tracks and tiles are due, and which of them the budget allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from fer_edge.settings.pipeline import (
    CASCADE_WINDOW,
    MAX_REGION_GROWTH_S,
    YUNET_MIN_PX,
    DetectorSettings,
    ScheduleSettings,
)
from fer_edge.settings.values import MIN_BUDGET_SHARE
from fer_edge.stages.schedule.tiles import DetectorProfile, alternate_tiles, sweep_tiles
from fer_edge.types import SceneMotion, Search, Track

SWEEP_TIME_SHARE, LARGE_FACE_TIME_SHARE = 0.7, 0.13
"""Share of ``max_acquire_s`` in which all tiles are searched once; the rest is for confirming what was found. The
second value applies to the levels of larger faces while no face is in view: a near face crosses the image fastest, its
searches are cheap, and repeated searches make up for misses."""
SETTLE_S = 0.5
"""Seconds for which an area counts as moving after its last change, because a search during the motion may have missed
the face."""
STEADY_RATIO, UNSURE_RATIO = 1.25, 1.5
"""Factor by which a face may have grown or shrunk since its last search: a followed face, and a lost or new one. The
narrow range leaves time for finer size steps, which find more."""
UNSURE_MARGIN = 0.8
"""Face widths by which the region of an unconfirmed face is larger, because its velocity is not known yet."""
MASK_SIDE = 1.1
"""Side of the hidden area of a followed face in face widths. It covers eyes and mouth: the cascade then rejects the
area at once. Otherwise a face costs the cascade more than the rest of the tile."""
OWN_MOTION_SIDE = 1.65
"""Side of the area around a known face, in face widths, in which a change is explained by the face itself."""
RETRY_INTERVAL_S = 0.12
"""Seconds between two searches for a face that the last search did not find. Searches that are due at once are ordered
by their waiting time in units of it."""
COST_GAIN = 0.2
"""Weight of the newest measurement in the mean cost."""
MAX_COST_RATIO = 4.0
"""Upper bound of one measurement, as a multiple of the mean cost."""


@dataclass(frozen=True, slots=True)
class SearchCost:
    """Processor time of a search, in seconds per megapixel searched.

    The defaults are nominal costs. They are used for files, so that a file gives the same trace on any machine; a 2 GHz
    x86-64 core needs about two thirds of them.

    Attributes:
        tile: Cost of a tile of the frame.
        region: Cost of the region of a track. It contains a face, which the cascade rejects later, so it costs more.
        min_px: Shorter side in pixels below which a search returns at once.
    """

    tile: float = 0.25
    region: float = 0.6
    min_px: int = CASCADE_WINDOW

    @classmethod
    def nominal(cls, detector: DetectorSettings) -> SearchCost:
        """Return the nominal costs of the detector that the settings name."""
        # YuNet needs the same time for every pixel. Regions cost more: their sides are rounded up to multiples of 32.
        return cls(0.11, 0.2, YUNET_MIN_PX) if detector.kind == "yunet" else cls()

    def of(self, search: Search) -> float:
        """Return the expected duration of ``search`` in seconds."""
        return search.megapixels * (self.tile if search.track_id is None else self.region)

    def measured(self, search: Search, elapsed_s: float) -> SearchCost:
        """Return the updated costs after ``search`` took ``elapsed_s``: a running mean, which follows throttling."""
        if min(search.region.width, search.region.height) * search.scale < self.min_px:
            return self  # too small for a face: the detector returns at once
        name = "tile" if search.track_id is None else "region"
        mean = getattr(self, name)
        # A single search delayed by swapping or a stopped process must not use up the budget of many frames.
        measured = min(elapsed_s / search.megapixels, MAX_COST_RATIO * mean)
        return replace(self, **{name: mean + COST_GAIN * (measured - mean)})


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """State passed from one plan to the next.

    Attributes:
        at: Time of the last plan, seconds; None before the first.
        credit_s: Seconds of search left in the budget; negative if overdrawn.
        tiles_at: When each tile was last searched, seconds.
        frame_size: (width, height) of the last frame in pixels.
        alternate: For each tile, whether its next search is at the alternate scale.
    """

    at: float | None = None
    credit_s: float = 0.0
    tiles_at: tuple[float, ...] = ()
    frame_size: tuple[int, int] | None = None
    alternate: tuple[bool, ...] = ()


class Scheduler:
    """Plans the searches of one source, frame by frame; see ``plan_searches``."""

    def __init__(self, detector: DetectorSettings, settings: ScheduleSettings) -> None:
        self._settings = settings
        self._cost = SearchCost.nominal(detector)
        self._profile = DetectorProfile.of(detector)
        self._state = ScheduleState()

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(width, height) of the last frame in pixels; None before the first."""
        return self._state.frame_size

    def plan(
        self, motion: SceneMotion, tracks: Sequence[Track], now: float, budget_share: float = 1.0
    ) -> tuple[Search, ...]:
        """Return the searches to make in the frame captured at ``now``.

        Args:
            motion: Size of the frame, and where it changed.
            tracks: Tracks with predicted boxes.
            now: Seconds of the source's clock.
            budget_share: Share of the configured budget to use, 0..1.
        """
        share = max(MIN_BUDGET_SHARE, self._settings.budget_share * budget_share)
        affordable = structs.replace(self._settings, budget_share=share)
        searches, self._state = plan_searches(motion, tracks, now, self._cost, self._state, affordable, self._profile)
        return searches

    def record(self, search: Search, elapsed_s: float) -> None:
        """Update the costs with the processor time that ``search`` took."""
        self._cost = self._cost.measured(search, elapsed_s)

    def restart(self) -> None:
        """Forget the last frame, so that the next one is searched as a whole. The measured costs are kept."""
        self._state = ScheduleState()


def plan_searches(
    motion: SceneMotion,
    tracks: Sequence[Track],
    now: float,
    cost: SearchCost,
    state: ScheduleState,
    settings: ScheduleSettings,
    profile: DetectorProfile,
) -> tuple[tuple[Search, ...], ScheduleState]:
    """Plan the searches of one frame.

    The first frame is searched as a whole, as far as ``budget_max_ms`` allows, so that faces already in view are
    found at once.

    Args:
        motion: Size of the frame, and where it changed.
        tracks: Tracks with predicted boxes.
        now: Time of the frame, seconds of the source's clock.
        cost: Expected cost of searches.
        state: State returned for the previous frame.
        settings: Intervals and budget.
        profile: Properties of the detector.

    Returns:
        The searches, most urgent first, and the state for the next frame.
    """
    elapsed = 0.0 if state.at is None else max(0.0, now - state.at)
    tiles = sweep_tiles(motion.frame_size, settings, profile)
    same_size = state.frame_size == motion.frame_size
    tiles_at = state.tiles_at if same_size else (-math.inf,) * len(tiles)
    alternate = (same_size and state.alternate) or (False,) * len(tiles)

    wanted = [
        (late, _track_search(track, motion, now, settings, profile))
        for track in tracks
        if (late := _track_overdue(track, motion, now, elapsed, settings)) >= 1
    ]
    no_face_in_view = all(track.lost and not track.matched for track in tracks)
    periods = [
        settings.max_acquire_s
        * (LARGE_FACE_TIME_SHARE if no_face_in_view and tile.scale < tiles[0].scale else SWEEP_TIME_SHARE)
        for tile in tiles
    ]
    newest = motion.newest_unexplained()
    overdue = [
        _tile_overdue(tile, at, motion, newest, now, period, settings)
        for tile, at, period in zip(tiles, tiles_at, periods, strict=True)
    ]
    turns = sorted((index for index in range(len(tiles)) if overdue[index] >= 1), key=lambda index: -overdue[index])
    first = state.at is None
    max_tiles = len(tiles) if first else math.ceil(sum(min(1.0, elapsed / max(period, 1e-3)) for period in periods))
    others = alternate_tiles(motion.frame_size, settings, profile)
    views = tuple(pair[which] for pair, which in zip(zip(tiles, others, strict=True), alternate, strict=True))
    wanted += [(overdue[index], views[index]) for index in turns[: max(1, max_tiles)]]

    # Unused credit is kept for one frame interval, at least 0.2 s. More would be spent at once, in a single frame.
    credit = (
        math.inf
        if first
        else min(state.credit_s + elapsed * settings.budget_share, max(elapsed, 0.2) * settings.budget_share)
    )
    chosen, left = _afford([search for _, search in sorted(wanted, key=_urgency)], cost, credit, settings)
    searched = tuple(view in chosen for view in views)
    tiles_at = tuple(now if done else at for done, at in zip(searched, tiles_at, strict=True))
    alternate = tuple(done != other for done, other in zip(searched, alternate, strict=True))
    if settings.max_acquire_s > 0:
        followed = tuple(track.box.grown(MASK_SIDE) for track in tracks if track.followed)
        chosen = tuple(replace(search, hidden=followed) if search.track_id is None else search for search in chosen)
    return chosen, ScheduleState(now, 0.0 if first else left, tiles_at, motion.frame_size, alternate)


def _track_search(
    track: Track, motion: SceneMotion, now: float, settings: ScheduleSettings, profile: DetectorProfile
) -> Search:
    """Return the search for ``track``; its region grows with the time since the position was last measured."""
    steady = track.followed
    unknown_s = min(max(0.0, now - max(track.last_seen, track.last_located)), MAX_REGION_GROWTH_S)
    ratio = STEADY_RATIO if steady else UNSURE_RATIO
    face = max(1, track.box.width)
    margin = settings.region_margin + settings.region_growth * unknown_s + (0.0 if track.confirmed else UNSURE_MARGIN)
    # The smallest face of the range must not be smaller than the detector's window.
    scale = min(1.0, max(profile.scaled_px(settings.face_px), profile.window * ratio) / face)
    region = track.box.grown(margin).clipped(*motion.frame_size)
    return Search(region, scale, face / ratio, face * ratio, track.track_id, track.confirmed)


def _track_overdue(track: Track, motion: SceneMotion, now: float, elapsed: float, settings: ScheduleSettings) -> float:
    """Return the time since the track's last search as a multiple of its search interval: it is due from 1 on."""
    waited = now - track.last_searched
    region = track.box.grown(settings.region_margin)
    # Rounded to the nearest frame, hence half a frame early at most.
    late = waited / max(RETRY_INTERVAL_S - elapsed / 2, elapsed / 2, 1e-3)
    if not track.confirmed or region.clipped(*motion.frame_size).area == 0:
        return max(1.0, late)
    if track.lost:
        return late
    is_static = _is_static(motion.last_change(region), track.last_searched, settings)
    if not track.matched and not is_static:
        return max(1.0, late)
    # A static face that is not matched went dark, since a change of brightness is not motion: normal interval.
    interval_s = settings.still_search_interval_s if is_static and track.matched else settings.search_interval_s
    return waited / max(interval_s - elapsed / 2, elapsed / 2, 1e-3)


def _tile_overdue(
    tile: Search,
    at: float,
    motion: SceneMotion,
    newest: float,
    now: float,
    period: float,
    settings: ScheduleSettings,
) -> float:
    """Return the time since the tile's last search ``at`` as a multiple of its search interval."""
    overdue = (now - at) / max(period, 1e-3)
    if overdue < 1 or settings.max_acquire_s == 0:
        return overdue
    # Usually the whole frame is static, which ``newest`` shows without a look-up for each tile.
    if _is_static(newest, at, settings) or _is_static(motion.last_unexplained(tile.region), at, settings):
        return (now - at) / max(settings.still_search_interval_s, settings.max_acquire_s)
    return overdue


def _is_static(last_change: float, searched_at: float, settings: ScheduleSettings) -> bool:
    return settings.motion_threshold > 0 and last_change < searched_at - SETTLE_S


def _urgency(wanted: tuple[float, Search]) -> tuple[float, int]:
    overdue, search = wanted
    return -overdue, -1 if search.track_id is None else search.track_id


def _afford(
    wanted: Sequence[Search], cost: SearchCost, credit_s: float, settings: ScheduleSettings
) -> tuple[tuple[Search, ...], float]:
    """Return as many of ``wanted``, in their order, as the budget allows, and the remaining credit in seconds.

    One search may overdraw the credit, because a slow machine could otherwise never search. No other search is made
    until the credit has recovered.
    """
    chosen: list[Search] = []
    max_s = math.inf if settings.budget_max_ms is None else settings.budget_max_ms / 1e3
    spent = 0.0
    for search in wanted:
        seconds = cost.of(search)
        if credit_s - spent < 0 or (chosen and spent + seconds > max_s):
            break
        chosen.append(search)
        spent += seconds
    return tuple(chosen), credit_s - spent
