"""Whether the program does what it is for: frames come, and are processed. Pure functions of one ``DaemonStatus``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import SourceSettings
from fer_edge.status import DaemonStatus, SourceStatus

STALE_AFTER_S = 30.0
"""Age of a source's newest frame from which it is not believed to be watching, unless the caller knows better."""
_SLACK_S = 5.0
"""What noticing a loss may take beyond the time that is set for it."""


class Condition(StrEnum):
    """How a source is, which is not always what was last said of it."""

    OPENING = "opening"
    WATCHING = "watching"
    STALLED = "stalled"
    """Said to be watching, but its newest frame is old: what follows it stands still."""
    DARK = "dark"
    """Frames come, and there is no light to see anything in them."""
    LOST = "lost"
    ENDED = "ended"

    @property
    def delivers(self) -> bool:
        """Whether frames come and are processed."""
        return self in (Condition.WATCHING, Condition.DARK)


@dataclass(frozen=True, slots=True)
class Health:
    """``healthy`` when at least one source delivers frames and none has stalled; ``reasons`` say what is not well.

    A lost source alone makes nothing unhealthy while another one delivers: a restart would not bring it back. Its
    reason is listed all the same.
    """

    healthy: bool
    reasons: tuple[str, ...]


def stale_after(source: SourceSettings) -> float:
    """Seconds without a frame after which a source that is said to be watching has stalled.

    That is later than its loss is noticed by ``timeout_s``, and leaves time for a frame of ``max_fps``.
    """
    return source.timeout_s + (1.0 / source.max_fps if source.max_fps else 0.0) + _SLACK_S


def condition(source: SourceStatus, now: float, stale_after_s: float) -> Condition:
    """How ``source`` is at ``now``, monotonic seconds."""
    if not source.delivers:
        return Condition(source.state.value)
    # Just opened, its first frame is on its way.
    newest = source.since if source.last_frame_at is None else max(source.since, source.last_frame_at)
    return Condition(source.state.value) if now - newest <= stale_after_s else Condition.STALLED


def health(status: DaemonStatus, stale_after_s: float = STALE_AFTER_S) -> Health:
    """Whether progress is being made, by what the board holds and by how old that is."""
    conditions = [(source, condition(source, status.mono, stale_after_s)) for source in status.sources]
    delivering = any(found.delivers and source.last_frame_at is not None for source, found in conditions)
    stalled = any(found is Condition.STALLED for _, found in conditions)
    reasons = [_told(source, found, status.mono) for source, found in conditions if not found.delivers]
    if not delivering:
        reasons.insert(0, "no source delivers frames")
    return Health(delivering and not stalled, tuple(reasons))


def _told(source: SourceStatus, found: Condition, now: float) -> str:
    name = redacted(source.name)
    if found is Condition.STALLED:
        newest = source.since if source.last_frame_at is None else source.last_frame_at
        return f"{name}: stalled, no frame for {now - newest:.0f} s"
    why = f": {redacted(source.reason)}" if source.reason else ""
    return f"{name}: {found.value} for {max(0.0, now - source.since):.0f} s{why}"
