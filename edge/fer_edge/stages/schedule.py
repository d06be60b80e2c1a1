"""Plan where to search in the next frame, within the processor budget.

A search of a whole frame costs tens of times as much as a search of the region around a known face. Each track is
therefore searched in a region of its own, at a scale at which the face is as small as the detector accepts. The whole
frame is divided into tiles, which are searched one at a time, so that no single frame bears the cost of all of them.
Static parts of the image are searched rarely. If the budget does not suffice, the searches that are most overdue come
first.

``plan_searches`` is a pure function of the frame size, the motion, the tracks, the time and the cost of searches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fer_edge.settings.runtime import (
    CASCADE_WINDOW,
    WIDEST_S,
    YUNET_MIN_PX,
    YUNET_WINDOW,
    DetectorSettings,
    ScheduleSettings,
)
from fer_edge.settings.runtime import (
    LEAST_BUDGET as MIN_BUDGET_SHARE,
)
from fer_edge.types import Box, SceneMotion, Search, Track

MAX_TILE_PX = 200
"""Longer side of a tile in pixels of the reduced frame. With smaller tiles the overlaps cost more than the division
saves per frame."""
MAX_LAST_LEVEL_PX = 100
"""Longer side of the reduced frame at which a single search covers all remaining, larger faces."""
FACE_SIZE_RATIO = 2.2
"""Ratio of the largest to the smallest face searched for in a tile. Larger faces are searched for at half the scale,
for a quarter of the cost. The ratio is above 2 so that a face of a size between two levels collects enough hits in one
of them."""
LAST_LEVEL_ZOOM = 1.33
"""Factor by which the last level, which covers all larger faces, is reduced less. This finds more of them."""
SWEEP_TIME_SHARE, LARGE_FACE_TIME_SHARE = 0.7, 0.13
"""Share of ``acquire_within_s`` in which all tiles are searched once; the rest is for confirming what was found. The
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
class DetectorProfile:
    """Properties of a detector that the tiling depends on; the defaults are those of the Haar cascade.

    Attributes:
        min_face: Width of the smallest face to find, in pixels of the frame.
        window: Width in pixels of the smallest face that the detector can find. The frame is reduced until a face of
            ``min_face`` has this width, or further if it is still wider than ``full_search_width``.
        max_tile_px: Longer side of a tile, in pixels of the reduced frame.
        max_last_level_px: Longer side of the reduced frame at which a single search covers all larger faces.
        last_level_zoom: Factor by which that level is reduced less than by the next half.
        alternate_zoom: Scale of every second search of a tile, relative to the first. A cascade tries sizes in steps,
            and would never find a static face whose size is between two of them.
    """

    min_face: float
    window: int = CASCADE_WINDOW
    max_tile_px: int = MAX_TILE_PX
    max_last_level_px: int = MAX_LAST_LEVEL_PX
    last_level_zoom: float = LAST_LEVEL_ZOOM
    alternate_zoom: float = 1.0

    @classmethod
    def of(cls, detector: DetectorSettings) -> DetectorProfile:
        """Return the profile of the detector that the settings name."""
        if detector.kind == "yunet":
            return cls(detector.min_face, YUNET_WINDOW, max_tile_px=240, max_last_level_px=240, last_level_zoom=1.0)
        return cls(detector.min_face, alternate_zoom=detector.scale_factor**-0.5)

    def scaled_px(self, pixels: int) -> float:
        """Convert ``full_search_width`` or ``face_px``, which are set for the cascade's window, to this detector's."""
        return pixels * self.window / CASCADE_WINDOW


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
        self._settings = self._affordable = settings
        self._cost = SearchCost.nominal(detector)
        self._reach = DetectorProfile.of(detector)
        self._state = ScheduleState()
        self._share = 1.0

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
        if budget_share != self._share:
            self._share = budget_share
            share = max(MIN_BUDGET_SHARE, self._settings.budget_share * budget_share)
            self._affordable = replace(self._settings, budget_share=share)
        searches, self._state = plan_searches(
            motion, tracks, now, self._cost, self._state, self._affordable, self._reach
        )
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

    The first frame is searched as a whole, as far as ``budget_ms`` allows, so that faces already in view are found at
    once.

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
        settings.acquire_within_s
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
    others = _alternate_tiles(motion.frame_size, settings, profile)
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
    if settings.acquire_within_s > 0:
        followed = tuple(track.box.grown(MASK_SIDE) for track in tracks if track.followed)
        chosen = tuple(replace(search, hidden=followed) if search.track_id is None else search for search in chosen)
    return chosen, ScheduleState(now, 0.0 if first else left, tiles_at, motion.frame_size, alternate)


@lru_cache(maxsize=8)
def sweep_tiles(
    frame_size: tuple[int, int], settings: ScheduleSettings, profile: DetectorProfile
) -> tuple[Search, ...]:
    """Return the tiles that together find a face of any size anywhere in a frame of ``frame_size`` (width, height).

    Neighbouring tiles overlap by the largest face that they search for, so that a face on a boundary is complete in one
    of them. Faces smaller than ``profile.min_face``, or smaller than ``profile.window`` in the reduced frame, are not
    searched for.
    """
    width, height = frame_size
    if settings.acquire_within_s == 0:
        # Reduced by its longer side: a tall frame searched as a whole must not cost a multiple of a wide one.
        scale = min(1.0, profile.scaled_px(settings.full_search_width) / max(1, *frame_size))
        return (Search(Box(0, 0, width, height), scale, max(profile.window / scale, profile.min_face)),)
    scale = min(1.0, profile.scaled_px(settings.full_search_width) / max(1, width), profile.window / profile.min_face)
    smallest = profile.window / scale
    tiles: list[Search] = []
    while max(width, height) * scale > profile.max_last_level_px:
        overlap = math.ceil(FACE_SIZE_RATIO * smallest)
        rows, columns = (_spread(side, overlap, profile.max_tile_px / scale) for side in (height, width))
        regions = [Box(x, y, across, down) for y, down in rows for x, across in columns]
        tiles += [Search(region, scale, smallest, FACE_SIZE_RATIO * smallest) for region in regions]
        scale, smallest = scale / 2, smallest * 2
    return (*tiles, Search(Box(0, 0, width, height), min(1.0, scale * profile.last_level_zoom), smallest))


@lru_cache(maxsize=8)
def _alternate_tiles(
    frame_size: tuple[int, int], settings: ScheduleSettings, profile: DetectorProfile
) -> tuple[Search, ...]:
    """Return the tiles of ``sweep_tiles`` at their alternate scale, see ``DetectorProfile``."""
    tiles = sweep_tiles(frame_size, settings, profile)
    if settings.acquire_within_s == 0:
        return tiles  # every frame is searched as a whole, and must find the faces of all sizes
    return tuple(
        replace(
            tile, scale=tile.scale * profile.alternate_zoom, min_face=(tile.min_face or 0.0) / profile.alternate_zoom
        )
        for tile in tiles
    )


def _spread(side: int, overlap: int, max_length: float) -> list[tuple[int, int]]:
    """Divide ``side`` into equal intervals (start, length) that overlap; each has at most about ``max_length``."""
    count = max(1, math.ceil((side - overlap) / (max_length - overlap)))
    step = (side - overlap) / count
    starts = [round(index * step) for index in range(count)]
    return [(start, min(side, math.ceil(start + step + overlap)) - start) for start in starts]


def _track_search(
    track: Track, motion: SceneMotion, now: float, settings: ScheduleSettings, profile: DetectorProfile
) -> Search:
    """Return the search for ``track``; its region grows with the time since the position was last measured."""
    steady = track.followed
    unknown_s = min(max(0.0, now - max(track.last_seen, track.last_located)), WIDEST_S)
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
    interval_s = settings.still_look_s if is_static and track.matched else settings.look_every_s
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
    if overdue < 1 or settings.acquire_within_s == 0:
        return overdue
    # Usually the whole frame is static, which ``newest`` shows without a look-up for each tile.
    if _is_static(newest, at, settings) or _is_static(motion.last_unexplained(tile.region), at, settings):
        return (now - at) / max(settings.still_look_s, settings.acquire_within_s)
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
    max_s = math.inf if settings.budget_ms is None else settings.budget_ms / 1e3
    spent = 0.0
    for search in wanted:
        seconds = cost.of(search)
        if credit_s - spent < 0 or (chosen and spent + seconds > max_s):
            break
        chosen.append(search)
        spent += seconds
    return tuple(chosen), credit_s - spent
