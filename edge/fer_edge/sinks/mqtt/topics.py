"""The MQTT topics of a device and the payloads of its states.

::

    <base>/<device>/availability        online or offline
    <base>/<device>/state               state of the device
    <base>/<device>/<source>/events     events of a source
    <base>/<device>/<source>/state      state of a source
    <base>/<device>/<source>/counts     newest counts of a source
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fer_edge.sinks.event_json import json_bytes
from fer_edge.status import ChipStatus, DaemonStatus, SourceStatus
from fer_edge.types import UNCERTAIN

ONLINE, OFFLINE = b"online", b"offline"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of ``device`` under ``base``. With ``aggregate``, states have no faces and no emotion."""

    base: str
    device: str
    aggregate: bool

    def of(self, *names: str) -> str:
        """Return the topic with the levels ``names`` below the device."""
        return "/".join((self.base, *map(topic_level, (self.device, *names))))

    def states(self, status: DaemonStatus) -> dict[str, bytes]:
        """Return the current payload of each state topic."""
        payloads = {self.of("state"): json_bytes(_device_state(status.sources, status.chip))}
        for source in status.sources:
            payloads[self.of(source.name, "state")] = json_bytes(_source_state(source, aggregate=self.aggregate))
        return payloads


def topic_level(name: str) -> str:
    """Return ``name`` as one topic level: separators, wildcards and invalid characters become ``_``."""
    return re.sub(r"[/+#\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]", "_", name).lstrip("$") or "_"


def _source_state(source: SourceStatus, *, aggregate: bool) -> dict[str, object]:
    """Return the state of ``source``; emotion and confidence belong to the largest face, probably the nearest."""
    watching = source.delivers
    state: dict[str, object] = {"state": source.state.value, "fps": round(source.fps) if watching else 0}
    if aggregate:
        return state
    largest = max(source.tracks if watching else (), key=lambda track: track.box.area, default=None)
    state["faces"] = len(source.tracks) if watching else 0
    state["emotion"] = None if largest is None else largest.emotion
    certain = largest is not None and largest.emotion != UNCERTAIN
    state["confidence"] = round(largest.confidence, 2) if largest is not None and certain else None
    return state


def _device_state(sources: tuple[SourceStatus, ...], chip: ChipStatus) -> dict[str, object]:
    fps = sum(source.fps for source in sources if source.delivers)
    temperature = None if chip.temperature_c is None else round(chip.temperature_c)
    return {"fps": round(fps), "temperature": temperature, "throttled": list(chip.throttled)}
