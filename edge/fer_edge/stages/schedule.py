"""Where to look in the next frame: a pure function of the frame's size and motion, the tracks, the time and the cost.

Searching a whole frame costs tens of times what the region around a known face does. So each track is looked for in a
region of its own, scaled so that the face is as small as the cascade likes it, and the whole frame is searched in
tiles, one now and then, so that no single frame pays for all of it. What stands still is left alone but for a look
now and then. Where the budget does not allow everything, what has waited longest for its turn comes first.
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

TILE_PX = 200
"""Longest side of a tile, pixels of the reduced frame: smaller ones overlap more than they spread."""
LAST_PX = 100
"""Longest side of the reduced frame in which all faces that are larger still are looked for at once."""
OCTAVE = 2.2
"""Ratio of the largest to the smallest face looked for in a tile: larger ones are found at half the scale, for a
quarter of the cost. The small surplus over 2 lets a face between the two gather its hits in one of them."""
LAST_FINER = 1.33
"""Factor by which the last part, which looks for all larger faces at once, is reduced less: more of them are found."""
SWEEP_SHARE, LARGE_SHARE = 0.7, 0.13
"""Share of ``acquire_within_s`` in which all tiles have their turn; the rest is for confirming what was found. The
second one is for the tiles of larger faces while no face is in sight: who is near has crossed the picture soonest, is
looked for at the least cost, and many looks find what one may miss."""
SETTLE_S = 0.5
"""Seconds for which what moved is still looked at after it stands: a search while it moved may have missed it."""
STEADY_RATIO, UNSURE_RATIO = 1.25, 1.5
"""Factor by which a face may have grown or shrunk since its last look: a face just seen, and a lost or a new one. The
narrow one leaves time for sizes that lie closer together, which finds more."""
UNSURE_MARGIN = 0.8
"""Face widths by which the region of a new face is larger: nobody knows yet where it is heading."""
HIDDEN = 1.1
"""Side of what is hidden of a face that is followed, in face widths: eyes and mouth, without which the cascade turns
it down at once, and which cost it more than the rest of a tile does."""
WATCHED = 1.65
"""Side of what is watched of a known face, in face widths: a change there is its own, and no news for the tiles."""
RETRY_S = 0.12
"""Seconds between two looks for a face that the last one did not find; and what a look at once is a late one of, where
there is not the budget for all."""
GAIN = 0.2
"""Weight of the newest measurement in the mean cost."""
MOST_RISE = 4.0
"""Most of the mean that one measurement counts for."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which faces a detector finds in a full search, and what parts suit it; the defaults are the Haar cascade's.

    ``min_face`` is the width in pixels of the frame of the smallest face looked for, which is reduced to at least
    ``window`` pixels. ``last_px`` is the longer side of the reduced frame in which all larger faces are looked for at
    once, ``last_finer`` by how much less than by the next half that one is reduced, ``tile_px`` the longest side of a
    tile of the others. Every second search of a tile is at ``between`` times its scale: a cascade tries sizes in steps,
    and a face that stands still between two of them would never be found.
    """

    min_face: float
    window: int = CASCADE_WINDOW
    tile_px: int = TILE_PX
    last_px: int = LAST_PX
    last_finer: float = LAST_FINER
    between: float = 1.0

    @classmethod
    def of(cls, detector: DetectorSettings) -> Reach:
        """The reach of the detector that ``detector`` names."""
        if detector.kind == "yunet":
            return cls(detector.min_face, YUNET_WINDOW, tile_px=240, last_px=240, last_finer=1.0)
        return cls(detector.min_face, between=detector.scale_factor**-0.5)

    def zoomed(self, pixels: int) -> float:
        """``full_search_width`` or ``face_px`` of the settings for this detector: they are meant for the cascade's."""
        return pixels * self.window / CASCADE_WINDOW


@dataclass(frozen=True, slots=True)
class SearchCost:
    """What a search costs: seconds for each megapixel that it looks at.

    The defaults are nominal: what a file's searches are taken to cost, so that it gives the same trace on any machine.
    A 2 GHz x86-64 core takes about two thirds of them. A region holds a face, so it is rejected later and costs more.
    A picture whose shorter side is below ``min_px`` is not searched at all.
    """

    tile: float = 0.25
    region: float = 0.6
    min_px: int = CASCADE_WINDOW

    @classmethod
    def nominal(cls, detector: DetectorSettings) -> SearchCost:
        """The nominal costs of the detector that ``detector`` names."""
        # Every pixel costs YuNet the same; a region is small, and its sides are rounded up to multiples of 32.
        return cls(0.11, 0.2, YUNET_MIN_PX) if detector.kind == "yunet" else cls()

    def of(self, search: Search) -> float:
        """Seconds that ``search`` should take."""
        return search.megapixels * (self.tile if search.track_id is None else self.region)

    def measured(self, search: Search, elapsed_s: float) -> SearchCost:
        """The costs after ``search`` took ``elapsed_s`` seconds: a running mean that follows a chip that throttles."""
        if min(search.region.width, search.region.height) * search.scale < self.min_px:
            return self  # too small for a face: the detector does not look at all
        name = "tile" if search.track_id is None else "region"
        mean = getattr(self, name)
        # One search that was held up, by swapping or a stopped process, must not blind the runtime for a while.
        price = min(elapsed_s / search.megapixels, MOST_RISE * mean)
        return replace(self, **{name: mean + GAIN * (price - mean)})


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """What one plan hands to the next one.

    ``at`` is its time, ``credit_s`` the seconds of search that the budget has left (below 0: owed), ``tiles_at`` when
    each tile of a frame of ``frame_size`` was last searched, ``between`` which of them come at the other scale next.
    """

    at: float | None = None
    credit_s: float = 0.0
    tiles_at: tuple[float, ...] = ()
    frame_size: tuple[int, int] | None = None
    between: tuple[bool, ...] = ()


class Scheduler:
    """Plans the searches of one source, frame by frame; see ``plan_searches``."""

    def __init__(self, detector: DetectorSettings, settings: ScheduleSettings) -> None:
        self._settings = self._affordable = settings
        self._cost = SearchCost.nominal(detector)
        self._reach = Reach.of(detector)
        self._state = ScheduleState()
        self._share = 1.0

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(width, height) of the last frame, None before the first."""
        return self._state.frame_size

    def plan(
        self, motion: SceneMotion, tracks: Sequence[Track], now: float, budget_share: float = 1.0
    ) -> tuple[Search, ...]:
        """Return the searches to make in the frame captured at ``now``, within ``budget_share`` of the budget."""
        if budget_share != self._share:
            self._share = budget_share
            share = max(MIN_BUDGET_SHARE, self._settings.budget_share * budget_share)
            self._affordable = replace(self._settings, budget_share=share)
        searches, self._state = plan_searches(
            motion, tracks, now, self._cost, self._state, self._affordable, self._reach
        )
        return searches

    def record(self, search: Search, elapsed_s: float) -> None:
        """Take into account that ``search`` took ``elapsed_s`` seconds of processor time."""
        self._cost = self._cost.measured(search, elapsed_s)

    def restart(self) -> None:
        """Forget the last frame: the next one is searched whole. What searches cost stays known."""
        self._state = ScheduleState()


def plan_searches(
    motion: SceneMotion,
    tracks: Sequence[Track],
    now: float,
    cost: SearchCost,
    state: ScheduleState,
    settings: ScheduleSettings,
    reach: Reach,
) -> tuple[tuple[Search, ...], ScheduleState]:
    """The searches to make in a frame captured at ``now``, and the state for the next frame.

    The first frame of all is searched whole, as far as ``budget_ms`` allows: who is there then need not wait.
    ``motion`` holds the frame's size and where it changed, ``tracks`` predicted boxes; ``reach`` is the detector's.
    """
    elapsed = 0.0 if state.at is None else max(0.0, now - state.at)
    tiles = sweep_tiles(motion.frame_size, settings, reach)
    same_size = state.frame_size == motion.frame_size
    tiles_at = state.tiles_at if same_size else (-math.inf,) * len(tiles)
    between = (same_size and state.between) or (False,) * len(tiles)

    wanted = [
        (late, _around(track, motion, now, settings, reach))
        for track in tracks
        if (late := _overdue(track, motion, now, elapsed, settings)) >= 1
    ]
    alone = all(track.lost and not track.matched for track in tracks)
    periods = [
        settings.acquire_within_s * (LARGE_SHARE if alone and tile.scale < tiles[0].scale else SWEEP_SHARE)
        for tile in tiles
    ]
    newest = motion.newest_news()
    overdue = [
        _tile_overdue(tile, at, motion, newest, now, period, settings)
        for tile, at, period in zip(tiles, tiles_at, periods, strict=True)
    ]
    turns = sorted((index for index in range(len(tiles)) if overdue[index] >= 1), key=lambda index: -overdue[index])
    first = state.at is None
    most = len(tiles) if first else math.ceil(sum(min(1.0, elapsed / max(period, 1e-3)) for period in periods))
    others = _tiles_between(motion.frame_size, settings, reach)
    views = tuple(pair[which] for pair, which in zip(zip(tiles, others, strict=True), between, strict=True))
    wanted += [(overdue[index], views[index]) for index in turns[: max(1, most)]]

    # Credit is saved up for as long as the last frame took, and a little, not for longer: it would be spent at once.
    credit = (
        math.inf
        if first
        else min(state.credit_s + elapsed * settings.budget_share, max(elapsed, 0.2) * settings.budget_share)
    )
    chosen, left = _afford([search for _, search in sorted(wanted, key=_turn)], cost, credit, settings)
    searched = tuple(view in chosen for view in views)
    tiles_at = tuple(now if done else at for done, at in zip(searched, tiles_at, strict=True))
    between = tuple(done != other for done, other in zip(searched, between, strict=True))
    if settings.acquire_within_s > 0:
        seen = tuple(track.box.grown(HIDDEN) for track in tracks if track.followed)
        chosen = tuple(replace(search, hidden=seen) if search.track_id is None else search for search in chosen)
    return chosen, ScheduleState(now, 0.0 if first else left, tiles_at, motion.frame_size, between)


@lru_cache(maxsize=8)
def sweep_tiles(frame_size: tuple[int, int], settings: ScheduleSettings, reach: Reach) -> tuple[Search, ...]:
    """The searches that together find a face of any size anywhere in a frame of ``frame_size`` (width, height).

    No face below ``reach.min_face`` is looked for, nor one that the reduced frame shows too small.

    Neighbouring tiles overlap by the largest face that they look for, so that a face on a seam is whole in one.
    """
    width, height = frame_size
    if settings.acquire_within_s == 0:
        # By the longer side: searched at once, a tall picture must not cost a multiple of a wide one.
        scale = min(1.0, reach.zoomed(settings.full_search_width) / max(1, *frame_size))
        return (Search(Box(0, 0, width, height), scale, max(reach.window / scale, reach.min_face)),)
    scale = min(1.0, reach.zoomed(settings.full_search_width) / max(1, width), reach.window / reach.min_face)
    smallest = reach.window / scale
    tiles: list[Search] = []
    while max(width, height) * scale > reach.last_px:
        overlap = math.ceil(OCTAVE * smallest)
        rows, columns = (_spread(side, overlap, reach.tile_px / scale) for side in (height, width))
        regions = [Box(x, y, across, down) for y, down in rows for x, across in columns]
        tiles += [Search(region, scale, smallest, OCTAVE * smallest) for region in regions]
        scale, smallest = scale / 2, smallest * 2
    return (*tiles, Search(Box(0, 0, width, height), min(1.0, scale * reach.last_finer), smallest))


@lru_cache(maxsize=8)
def _tiles_between(frame_size: tuple[int, int], settings: ScheduleSettings, reach: Reach) -> tuple[Search, ...]:
    """The tiles of ``sweep_tiles`` at the scale of every second search, see ``Reach``."""
    tiles = sweep_tiles(frame_size, settings, reach)
    if settings.acquire_within_s == 0:
        return tiles  # each frame is searched whole: no face may be missed in every second one
    return tuple(
        replace(tile, scale=tile.scale * reach.between, min_face=(tile.min_face or 0.0) / reach.between)
        for tile in tiles
    )


def _spread(side: int, overlap: int, most: float) -> list[tuple[int, int]]:
    """Equal stretches (start, length) of at most about ``most`` that cover ``side`` and overlap by ``overlap``."""
    count = max(1, math.ceil((side - overlap) / (most - overlap)))
    step = (side - overlap) / count
    starts = [round(index * step) for index in range(count)]
    return [(start, min(side, math.ceil(start + step + overlap)) - start) for start in starts]


def _around(track: Track, motion: SceneMotion, now: float, settings: ScheduleSettings, reach: Reach) -> Search:
    """Where the track should be: the longer ago it was seen, the wider."""
    steady = track.followed
    unseen = min(max(0.0, now - max(track.last_seen, track.last_placed)), WIDEST_S)
    ratio = STEADY_RATIO if steady else UNSURE_RATIO
    face = max(1, track.box.width)
    margin = settings.region_margin + settings.region_growth * unseen + (0.0 if track.confirmed else UNSURE_MARGIN)
    # The smallest face of the range may not come to lie below the detector's window.
    scale = min(1.0, max(reach.zoomed(settings.face_px), reach.window * ratio) / face)
    region = track.box.grown(margin).clipped(*motion.frame_size)
    return Search(region, scale, face / ratio, face * ratio, track.track_id, track.confirmed)


def _overdue(track: Track, motion: SceneMotion, now: float, elapsed: float, settings: ScheduleSettings) -> float:
    """How long ago the track was looked for, in multiples of the time between looks; due from 1 on."""
    waited = now - track.last_looked
    region = track.box.grown(settings.region_margin)
    # Half a frame early rather than half a frame late.
    late = waited / max(RETRY_S - elapsed / 2, elapsed / 2, 1e-3)
    if not track.confirmed or region.clipped(*motion.frame_size).area == 0:
        return max(1.0, late)
    if track.lost:
        return late
    stands = _stands(motion.last_change(region), track.last_looked, settings)
    if not track.matched and not stands:
        return max(1.0, late)
    # Where nothing moves and still it is not there, the light went: brightness is no motion.
    between = settings.still_look_s if stands and track.matched else settings.look_every_s
    return waited / max(between - elapsed / 2, elapsed / 2, 1e-3)


def _tile_overdue(
    tile: Search,
    at: float,
    motion: SceneMotion,
    newest: float,
    now: float,
    period: float,
    settings: ScheduleSettings,
) -> float:
    overdue = (now - at) / max(period, 1e-3)
    if overdue < 1 or settings.acquire_within_s == 0:
        return overdue
    # Mostly there is no news anywhere, and each part need not be asked for its own.
    if _stands(newest, at, settings) or _stands(motion.last_news(tile.region), at, settings):
        return (now - at) / max(settings.still_look_s, settings.acquire_within_s)
    return overdue


def _stands(last_change: float, looked_at: float, settings: ScheduleSettings) -> bool:
    return settings.motion_threshold > 0 and last_change < looked_at - SETTLE_S


def _turn(wanted: tuple[float, Search]) -> tuple[float, int]:
    overdue, search = wanted
    return -overdue, -1 if search.track_id is None else search.track_id


def _afford(
    wanted: Sequence[Search], cost: SearchCost, credit_s: float, settings: ScheduleSettings
) -> tuple[tuple[Search, ...], float]:
    """As many of ``wanted``, in their order, as the budget allows, and the credit that is left.

    One search may overdraw the credit, or a slow machine would never look at all; it is paid back before the next.
    """
    chosen: list[Search] = []
    most_s = math.inf if settings.budget_ms is None else settings.budget_ms / 1e3
    spent = 0.0
    for search in wanted:
        seconds = cost.of(search)
        if credit_s - spent < 0 or (chosen and spent + seconds > most_s):
            break
        chosen.append(search)
        spent += seconds
    return tuple(chosen), credit_s - spent
