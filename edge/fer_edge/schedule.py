"""Where to look in the next frame: a pure function of the frame's size, the tracks, the time and the cost.

Searching a whole frame costs tens of times what the region around a known face does, so the whole frame is
searched only now and then, and each track in its own region, scaled so that the face is as small as the cascade
likes it. The region of a face that is not found grows with the time since it was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fer_edge.config import ScheduleSettings
from fer_edge.types import Box, Track

NOMINAL_SECONDS_PER_MEGAPIXEL = 0.6
"""Cost of a full search where it must not be measured, so that a file gives the same trace everywhere.

The cascade at scale factor 1.2 took 44 ms for 320x240 pixels on one x86-64 core.
"""


@dataclass(frozen=True, slots=True)
class Search:
    """Look in ``region`` (None: the whole frame) at ``scale`` for faces of ``min_face`` to ``max_face`` frame pixels.

    A limit of None is the detector's own.
    """

    region: Box | None
    scale: float
    min_face: float | None = None
    max_face: float | None = None


def plan_searches(
    frame_size: tuple[int, int],
    tracks: Sequence[Track],
    now: float,
    last_full_search: float | None,
    full_search_cost_s: float,
    settings: ScheduleSettings,
) -> tuple[Search, ...]:
    """The searches to make in a frame of ``frame_size`` (width, height) captured at ``now``.

    ``tracks`` hold predicted boxes; ``last_full_search`` is when the whole frame was last searched (None: never).
    """
    wait = settings.full_search_every_s if tracks else 0.0
    wait = max(wait, full_search_cost_s / settings.full_search_share)
    due = last_full_search is None or now - last_full_search >= wait
    whole = (Search(None, full_search_scale(frame_size[0], settings)),) if due else ()
    return whole + tuple(_around(track, now, settings) for track in tracks)


def full_search_scale(frame_width: int, settings: ScheduleSettings) -> float:
    """Factor, at most 1, by which a frame is reduced for a search of the whole of it."""
    return min(1.0, settings.full_search_width / frame_width)


def nominal_full_search_cost(frame_size: tuple[int, int], settings: ScheduleSettings) -> float:
    """Seconds that a search of the whole frame is taken to cost on any machine."""
    scale = full_search_scale(frame_size[0], settings)
    return NOMINAL_SECONDS_PER_MEGAPIXEL * frame_size[0] * frame_size[1] * scale**2 / 1e6


def _around(track: Track, now: float, settings: ScheduleSettings) -> Search:
    unseen = max(0.0, now - track.last_seen)
    face = max(1, track.box.width)
    region = track.box.grown(settings.region_margin + settings.region_growth * unseen)
    # The sizes a face can take on between two looks; fewer sizes cost less and find fewer false faces.
    return Search(region, min(1.0, settings.face_px / face), 0.6 * face, 1.7 * face)
