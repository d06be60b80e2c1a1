"""Estimate what a search costs, from nominal values or from measurements."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fer_edge.settings.pipeline import CASCADE_WINDOW, YUNET_MIN_PX, DetectorSettings
from fer_edge.types import Search

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
