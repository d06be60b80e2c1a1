"""What is published to a broker, and where."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fer_edge.sinks.jsonl import json_line
from fer_edge.status import ChipStatus, DaemonStatus, SourceStatus
from fer_edge.types import UNCERTAIN

ONLINE, OFFLINE = b"online", b"offline"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one ``device`` under ``base``.

    ``aggregate``: nothing is published that is of a person, or of a moment.
    """

    base: str
    device: str
    aggregate: bool

    @property
    def root(self) -> str:
        """The part that all of them begin with."""
        return f"{self.base}/{topic_level(self.device)}"

    @property
    def availability(self) -> str:
        """Where ``online`` or ``offline`` stands."""
        return f"{self.root}/availability"

    @property
    def state(self) -> str:
        """Where the state of the device stands."""
        return f"{self.root}/state"

    def events(self, source: str) -> str:
        """Where the events of ``source`` go."""
        return f"{self.root}/{topic_level(source)}/events"

    def source_state(self, source: str) -> str:
        """Where the state of ``source`` stands."""
        return f"{self.root}/{topic_level(source)}/state"

    def counts(self, source: str) -> str:
        """Where the newest counts of ``source`` stand."""
        return f"{self.root}/{topic_level(source)}/counts"

    def states(self, status: DaemonStatus) -> dict[str, bytes]:
        """The payload that each topic of a state should hold now."""
        payloads = {self.state: json_line(_device_state(status.sources, status.chip))}
        for source in status.sources:
            payloads[self.source_state(source.name)] = json_line(_source_state(source, aggregate=self.aggregate))
        return payloads


def topic_level(name: str) -> str:
    """``name`` as one level of a topic: without what has a meaning there, or no place."""
    return re.sub(r"[/+#\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]", "_", name).lstrip("$") or "_"


def _source_state(source: SourceStatus, *, aggregate: bool) -> dict[str, object]:
    """The emotion is that of the largest face, most likely the nearest."""
    watching = source.delivers
    state: dict[str, object] = {"state": source.state.value, "fps": round(source.fps) if watching else 0}
    if aggregate:
        return state
    nearest = max(source.tracks if watching else (), key=lambda track: track.box.area, default=None)
    state["faces"] = len(source.tracks) if watching else 0
    state["emotion"] = None if nearest is None else nearest.emotion
    sure = nearest is not None and nearest.emotion != UNCERTAIN
    state["confidence"] = round(nearest.confidence, 2) if nearest is not None and sure else None
    return state


def _device_state(sources: tuple[SourceStatus, ...], chip: ChipStatus) -> dict[str, object]:
    fps = sum(source.fps for source in sources if source.delivers)
    temperature = None if chip.temperature_c is None else round(chip.temperature_c)
    return {"fps": round(fps), "temperature": temperature, "throttled": list(chip.throttled)}
