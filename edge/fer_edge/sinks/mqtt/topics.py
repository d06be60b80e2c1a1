"""The MQTT topics of a device and the payloads of its states.

::

    <base>/<device>/availability        online or offline
    <base>/<device>/$description        program, model, sources and settings of the device
    <base>/<device>/state               state of the device
    <base>/<device>/update              version of the model, and of a newer one, if updates are on
    <base>/<device>/<source>/events     events of a source
    <base>/<device>/<source>/state      state of a source
    <base>/<device>/<source>/counts     newest counts of a source
    <base>/<device>/<source>/watch/set  ON or OFF: whether to watch a source, obeyed if it is a camera or stream
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fer_edge.settings.redaction import redacted
from fer_edge.sinks.base import SESSION
from fer_edge.status import ChipStatus, DaemonStatus, SourceStatus, UpdateStatus
from fer_edge.system.version import __version__
from fer_edge.types import UNCERTAIN

ONLINE, OFFLINE = b"online", b"offline"
WATCH, PAUSE = b"ON", b"OFF"
"""Payloads of ``watch/set``."""
_MAX_SUMMARY_CHARS = 255
"""As Home Assistant accepts."""
MINOR_KEYS = frozenset({"fps", "temperature"})
"""Keys of states whose changes alone are not worth a message each second."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of ``device`` under ``base``.

    With ``aggregate``, states have no faces and no emotion. ``confidence_step`` is the precision of confidences.
    """

    base: str
    device: str
    aggregate: bool
    confidence_step: float = 0.01

    def of(self, *names: str) -> str:
        """Return the topic with the levels ``names`` below the device."""
        return "/".join((self.base, *map(topic_level, (self.device, *names))))

    @property
    def description(self) -> str:
        """The topic of the device's description. No source has it: ``topic_level`` removes the ``$``."""
        return f"{self.of()}/$description"

    def of_all(self, *names: str) -> str:
        """Return the filter for the topics with the levels ``names`` below any source."""
        return "/".join((self.base, topic_level(self.device), "+", *names))

    def description_of(self, status: DaemonStatus, settings_hash: str) -> dict[str, object]:
        """Return the description of the device, for programs that look after many devices."""
        model = status.model
        return {
            "v": 1,
            "name": self.device,
            "version": __version__,
            "model": {"name": model.name, "version": model.version, "variant": model.variant},
            "sources": [source.name for source in status.sources],
            "privacy": status.privacy,
            "settings": settings_hash,
            "session": SESSION,
        }

    def states(self, status: DaemonStatus) -> dict[str, dict[str, object]]:
        """Return the current state for each state topic."""
        states = {self.of("state"): _device_state(status.sources, status.chip)}
        for source in status.sources:
            states[self.of(source.name, "state")] = self._source_state(source)
        if status.update is not None:
            states[self.of("update")] = _update_state(status.model.version, status.update)
        return states

    def _source_state(self, source: SourceStatus) -> dict[str, object]:
        """Return the state of ``source``; emotion and confidence belong to the largest face, probably the nearest."""
        watching = source.state.delivers
        reason = redacted(source.reason) if source.reason else None
        state: dict[str, object] = {
            "state": source.state.value,
            "reason": reason,
            "fps": round(source.fps) if watching else 0,
        }
        if self.aggregate:
            return state
        largest = max(source.tracks if watching else (), key=lambda track: track.box.area, default=None)
        state["faces"] = source.faces
        state["emotion"] = None if largest is None else largest.emotion
        certain = largest is not None and largest.emotion != UNCERTAIN
        state["confidence"] = self._stepped(largest.confidence) if largest is not None and certain else None
        if source.zones:
            state["zones"] = source.zone_faces
        return state

    def _stepped(self, confidence: float) -> float:
        return round(round(confidence / self.confidence_step) * self.confidence_step, 2)


def topic_level(name: str) -> str:
    """Return ``name`` as one topic level: separators, wildcards and invalid characters become ``_``."""
    return re.sub(r"[/+#\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]", "_", name).lstrip("$") or "_"


def _update_state(installed: str, update: UpdateStatus) -> dict[str, object]:
    """Return the state of Home Assistant's ``update`` entity; an installation that is under way cannot be measured."""
    return {
        "installed_version": installed,
        "latest_version": update.candidate or update.offered or installed,
        "in_progress": update.candidate is not None,
        "release_summary": (redacted(update.problem) if update.problem else update.phase)[:_MAX_SUMMARY_CHARS],
    }


def _device_state(sources: tuple[SourceStatus, ...], chip: ChipStatus) -> dict[str, object]:
    fps = sum(source.fps for source in sources if source.state.delivers)
    temperature = None if chip.temperature_c is None else round(chip.temperature_c)
    return {"fps": round(fps), "temperature": temperature, "throttled": list(chip.throttled)}
