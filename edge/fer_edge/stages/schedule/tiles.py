"""Divide a frame into tiles, each searched for one range of face sizes at one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from fer_edge.settings.pipeline import CASCADE_WINDOW, YUNET_WINDOW, DetectorSettings, ScheduleSettings
from fer_edge.types import Box, Search

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


@dataclass(frozen=True, slots=True)
class DetectorProfile:
    """Properties of a detector that the tiling depends on; the defaults are those of the Haar cascade.

    Attributes:
        min_face: Width of the smallest face to find, in pixels of the frame.
        window: Width in pixels of the smallest face that the detector can find. The frame is reduced until a face of
            ``min_face`` has this width, or further if it is still wider than ``full_search_width_px``.
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
            return cls(detector.min_face_px, YUNET_WINDOW, max_tile_px=240, max_last_level_px=240, last_level_zoom=1.0)
        return cls(detector.min_face_px, alternate_zoom=detector.scale_factor**-0.5)

    def scaled_px(self, pixels: int) -> float:
        """Convert a width in pixels that is set for the cascade's window to this detector's window."""
        return pixels * self.window / CASCADE_WINDOW


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
    if settings.max_acquire_s == 0:
        # Reduced by its longer side: a tall frame searched as a whole must not cost a multiple of a wide one.
        scale = min(1.0, profile.scaled_px(settings.full_search_width_px) / max(1, *frame_size))
        return (Search(Box(0, 0, width, height), scale, max(profile.window / scale, profile.min_face)),)
    full_width = profile.scaled_px(settings.full_search_width_px)
    scale = min(1.0, full_width / max(1, width), profile.window / profile.min_face)
    min_face = profile.window / scale
    tiles: list[Search] = []
    while max(width, height) * scale > profile.max_last_level_px:
        overlap = math.ceil(FACE_SIZE_RATIO * min_face)
        rows, columns = (_spread(side, overlap, profile.max_tile_px / scale) for side in (height, width))
        regions = [Box(x, y, across, down) for y, down in rows for x, across in columns]
        tiles += [Search(region, scale, min_face, FACE_SIZE_RATIO * min_face) for region in regions]
        scale, min_face = scale / 2, min_face * 2
    return (*tiles, Search(Box(0, 0, width, height), min(1.0, scale * profile.last_level_zoom), min_face))


@lru_cache(maxsize=8)
def alternate_tiles(
    frame_size: tuple[int, int], settings: ScheduleSettings, profile: DetectorProfile
) -> tuple[Search, ...]:
    """Return the tiles of ``sweep_tiles`` at their alternate scale, see ``DetectorProfile``."""
    tiles = sweep_tiles(frame_size, settings, profile)
    if settings.max_acquire_s == 0:
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
