"""Plan where to search in the next frame, within the processor budget.

A search of a whole frame costs tens of times as much as a search of the region around a known face. Each track is
therefore searched in its own region, at a scale at which the face is as small as the detector accepts. The whole frame
is divided into tiles, which are searched one at a time, so that no single frame bears the cost of all of them.
Static parts of the image are searched rarely. If the budget does not suffice, the searches that are most overdue come
first.

``plan_searches`` is a pure function of the frame size, the motion, the tracks, the time and the cost of searches.
"""

from __future__ import annotations

from fer_edge.stages.schedule.cost import SearchCost
from fer_edge.stages.schedule.plan import (
    MASK_SIDE,
    OWN_MOTION_SIDE,
    RETRY_INTERVAL_S,
    Scheduler,
    ScheduleState,
    plan_searches,
)
from fer_edge.stages.schedule.tiles import DetectorProfile, sweep_tiles

__all__ = [
    "MASK_SIDE",
    "OWN_MOTION_SIDE",
    "RETRY_INTERVAL_S",
    "DetectorProfile",
    "ScheduleState",
    "Scheduler",
    "SearchCost",
    "plan_searches",
    "sweep_tiles",
]
