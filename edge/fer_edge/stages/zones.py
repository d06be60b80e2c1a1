"""Find the zone in which each tracked face is: the named areas of ``source.zones``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from fer_edge.errors import ConfigError
from fer_edge.images.areas import fill_area
from fer_edge.types import Track, UInt8Array

_BORDER = 0.1
"""A face changes its zone once its centre is this share of its width past the border, so that one on the border does
not change it in every frame."""


class ZoneFinder:
    """The zones of one source, and the zone of each of its tracks."""

    def __init__(self, zones: Mapping[str, Sequence[float]]) -> None:
        self._zones = zones
        self._names = (None, *zones)
        self._map: UInt8Array = np.zeros((0, 0), np.uint8)
        self._of: dict[int, str | None] = {}
        self.entered: tuple[str, ...] = ()
        """The zone of each track that came into one with the last update."""

    def update(self, tracks: Sequence[Track], width: int, height: int) -> dict[int, str | None]:
        """Return the zone of each confirmed track by its id, None outside all zones; empty without zones.

        Raises:
            ConfigError: If two zones overlap in a picture of this size, or one extends beyond it.
        """
        if not self._zones:
            return {}
        if self._map.shape != (height, width):
            self._map = draw_zones(self._zones, width, height)
        before, self._of = self._of, {track.track_id: self._zone(track) for track in tracks if track.confirmed}
        changed = ((track_id, zone) for track_id, zone in self._of.items() if zone != before.get(track_id))
        self.entered = tuple(zone for _, zone in changed if zone is not None)
        return self._of

    def _zone(self, track: Track) -> str | None:
        (x, y), margin = track.box.centre, _BORDER * track.box.width
        now = self._at(x, y)
        before = self._of.get(track.track_id, now)
        around = ((x - margin, y), (x + margin, y), (x, y - margin), (x, y + margin))
        return now if all(self._at(*point) == now for point in around) else before

    def _at(self, x: float, y: float) -> str | None:
        height, width = self._map.shape
        column, row = min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1)
        return self._names[int(self._map[row, column])]


def draw_zones(zones: Mapping[str, Sequence[float]], width: int, height: int) -> UInt8Array:
    """Return a map, uint8 [height, width]: the number of the zone at each pixel, from 1 in their order; 0 for none.

    Zones may share a border.

    Raises:
        ConfigError: If two zones overlap, or one in pixels extends beyond the picture.
    """
    drawn = np.zeros((height, width), np.uint8)
    for number, (name, area) in enumerate(zones.items(), start=1):
        alone = np.zeros((height, width), np.uint8)
        try:
            fill_area(alone, area, 1)
        except ValueError as error:
            raise ConfigError(f"source.zones.{name} {error}") from None
        both = np.where(alone == 1, drawn, np.uint8(0))
        # A border has a width of two pixels at most, which the erosion removes.
        if cv2.erode(both, np.ones((3, 3), np.uint8), borderValue=0).any():
            other = (*zones,)[int(both.max()) - 1]
            raise ConfigError(f"source.zones.{name}: overlaps zone {other}; a face can be in one zone only")
        drawn[(alone == 1) & (drawn == 0)] = number
    return drawn
