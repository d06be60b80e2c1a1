"""Status of the running daemon: written by its threads, read by the status page, the metrics and Home Assistant."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from fer_edge.types import EmotionEvent, Presence, RuntimeStatus, TrackedEmotion

_RECENT_EVENTS = 200


class SourceState(StrEnum):
    """State of a source."""

    OPENING = "opening"
    """Its camera or stream is being opened for the first time."""
    WATCHING = "watching"
    """It delivers frames."""
    DARK = "dark"
    """It delivers frames that are too dark to detect faces."""
    PAUSED = "paused"
    """It is closed, on request."""
    STALLED = "stalled"
    """It is watched, but its newest frame is old: processing hangs. Only ``web.health`` derives this state."""
    LOST = "lost"
    """It delivers no usable frames, and is being reopened."""
    ENDED = "ended"
    """It has reached its end, or is lost and will not be reopened."""

    @property
    def delivers(self) -> bool:
        """Whether frames arrive and are processed, even if they are dark."""
        return self in (SourceState.WATCHING, SourceState.DARK)


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Status of one source.

    Attributes:
        name: Name of the source.
        state: Its current state.
        since: Time of the change to that state, in monotonic seconds.
        reason: Error message if the source is lost or has ended with an error, otherwise None.
        lost: Number of times that it was lost.
        attempts: Number of attempts to reopen it.
        size: Width and height of its frames in pixels; None before the first frame.
        last_frame_at: Time of the newest processed frame, in monotonic seconds; None before the first frame.
        fps: Frames processed per second, averaged over the last seconds.
        tracks: Current tracks; empty with ``privacy = "aggregate"``.
        runtime: Counts and times of its pipeline; None if they were not requested or do not exist yet.
        zones: Names of its zones.
        presence: The number of faces with hysteresis; None unless ``presence.enabled`` is on.
    """

    name: str
    state: SourceState = SourceState.OPENING
    since: float = 0.0
    reason: str | None = None
    lost: int = 0
    attempts: int = 0
    size: tuple[int, int] | None = None
    last_frame_at: float | None = None
    fps: float = 0.0
    tracks: tuple[TrackedEmotion, ...] = ()
    runtime: RuntimeStatus | None = None
    zones: tuple[str, ...] = ()
    presence: Presence | None = None

    @property
    def faces(self) -> int:
        """Number of faces in view, with hysteresis if that is enabled."""
        if not self.state.delivers:
            return 0
        return len(self.tracks) if self.presence is None else self.presence.faces

    @property
    def zone_faces(self) -> dict[str, int]:
        """Number of faces in each zone, as ``faces``."""
        if self.state.delivers and self.presence is not None:
            return self.presence.zones
        inside = [track.zone for track in self.tracks] if self.state.delivers else []
        return {zone: inside.count(zone) for zone in self.zones}


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """Status of one sink.

    Attributes:
        name: Name of the sink.
        working: Whether the last attempt to send succeeded.
        problem: Error message of the last attempt if it failed, otherwise None.
        sent: Number of events sent.
        waiting: Number of events in the queue.
        dropped: Number of events dropped.
    """

    name: str
    working: bool = True
    problem: str | None = None
    sent: int = 0
    waiting: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class ChipStatus:
    """Status of the chip.

    Attributes:
        temperature_c: Temperature in °C; None if unknown.
        throttled: Throttling flags that are set now.
        throttled_before: Throttling flags that were set at any time since the device started.
        budget_share: Share of the budget for detection that is available at this temperature, 0..1.
    """

    temperature_c: float | None = None
    throttled: tuple[str, ...] = ()
    throttled_before: tuple[str, ...] = ()
    budget_share: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The classifier: name, version and variant of its bundle, and its labels in the order of the model's output."""

    name: str = ""
    version: str = ""
    variant: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateStatus:
    """Status of updates of the model.

    Attributes:
        phase: ``settled`` or ``probation``; while a new version is taken ``verified``, ``checked`` or ``shadow``.
        candidate: The version that is being taken; None if there is none.
        offered: The newest version for this device at the last check; None if none is newer than the one in use.
        agreement: Share of crops for which the candidate found the same emotion, 0..1; None if it is not known.
        problem: Why the last check or step failed; None if it succeeded.
    """

    phase: str
    candidate: str | None = None
    offered: str | None = None
    agreement: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """Status of the whole daemon at one time.

    Attributes:
        mono: Time of the snapshot, in monotonic seconds.
        started_at: Start time of the daemon, in seconds since the epoch.
        uptime_s: Seconds since the start.
        ready: Whether the model is loaded and every source is supervised.
        privacy: The setting ``output.privacy``.
        recording: Whether a film of the people in view is written (``output.annotate``).
        model: The classifier.
        sources: Status of each source.
        sinks: Status of each sink.
        chip: Status of the chip.
        recent: The newest events, the oldest of them first.
        update: Status of updates; None if they are off.
    """

    mono: float
    started_at: float
    uptime_s: float = 0.0
    ready: bool = False
    privacy: str = "events"
    recording: bool = False
    model: ModelStatus = ModelStatus()
    sources: tuple[SourceStatus, ...] = ()
    sinks: tuple[SinkStatus, ...] = ()
    chip: ChipStatus = ChipStatus()
    recent: tuple[EmotionEvent, ...] = ()
    update: UpdateStatus | None = None


class StatusBoard:
    """Collect the parts of ``DaemonStatus`` from the daemon's threads, and requests to pause sources. Thread-safe."""

    def __init__(self, privacy: str = "events", *, recording: bool = False) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._status = DaemonStatus(self._started, time.time(), privacy=privacy, recording=recording)
        self._sources: dict[str, SourceStatus] = {}
        self._runtimes: dict[str, Callable[[], RuntimeStatus]] = {}
        self._sinks: list[Callable[[], SinkStatus]] = []
        self._recent: deque[EmotionEvent] = deque(maxlen=_RECENT_EVENTS)
        self._pauses: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    def set_ready(self) -> None:
        """Record that the model is loaded and every source is supervised."""
        self._set(ready=True)

    def set_model(self, model: ModelStatus) -> None:
        """Record the classifier in use."""
        self._set(model=model)

    def set_chip(self, chip: ChipStatus) -> None:
        """Record the status of the chip."""
        self._set(chip=chip)

    def set_update(self, update: UpdateStatus) -> None:
        """Record the status of updates."""
        self._set(update=update)

    def _set(self, **changes: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)

    def watch_sink(self, status: Callable[[], SinkStatus]) -> None:
        """Add a sink; ``status()`` is called for each snapshot."""
        with self._lock:
            self._sinks.append(status)

    def watch_runtime(self, source: str, status: Callable[[], RuntimeStatus]) -> None:
        """Set the function that returns the counts and times of ``source``. Snapshots call it if they include these."""
        with self._lock:
            self._runtimes[source] = status

    def source(self, name: str) -> SourceStatus:
        """Return the last status of the source ``name``. A new source is added in the state ``OPENING``."""
        with self._lock:
            return self._sources.setdefault(name, SourceStatus(name, since=time.monotonic()))

    def source_names(self) -> list[str]:
        """Return the names of all sources."""
        with self._lock:
            return list(self._sources)

    def pause_of(self, name: str) -> threading.Event:
        """Return the request to pause the source ``name``: set while nothing of it is to be read."""
        with self._lock:
            return self._pauses[name]

    def update_source(self, status: SourceStatus) -> None:
        """Replace the status of the source ``status.name``."""
        with self._lock:
            self._sources[status.name] = status

    def tell(self, event: EmotionEvent) -> None:
        """Add ``event`` to the recent events."""
        with self._lock:
            self._recent.append(event)

    def snapshot(self, *, with_runtimes: bool = True) -> DaemonStatus:
        """Return the current status.

        Args:
            with_runtimes: Include the counts and times of each source, which take milliseconds to compute.
        """
        with self._lock:
            status, recent = self._status, tuple(self._recent)
            sources, runtimes, sinks = list(self._sources.values()), dict(self._runtimes), list(self._sinks)
        # Call the status functions without holding the lock, since they acquire other locks.
        sources = [
            replace(source, runtime=runtimes[source.name]()) if with_runtimes and source.name in runtimes else source
            for source in sources
        ]
        now = time.monotonic()
        return replace(
            status,
            mono=now,
            uptime_s=now - self._started,
            sources=tuple(sources),
            sinks=tuple(sink() for sink in sinks),
            recent=recent,
        )
