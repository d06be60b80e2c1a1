"""How the running program is: one board that the threads write to, and that page, metrics and Home Assistant read."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fer_edge.types import EmotionEvent, RuntimeStatus, TrackedEmotion

_RECENT_EVENTS = 200


class SourceState(StrEnum):
    """What a source is doing."""

    OPENING = "opening"
    """Its camera or stream is being opened for the first time."""
    WATCHING = "watching"
    """Frames come."""
    DARK = "dark"
    """Frames come, and there is no light to see anything in them."""
    LOST = "lost"
    """No frames that are worth anything; being opened again."""
    ENDED = "ended"
    """It has come to its end, or is lost for good."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source: ``state`` since ``since`` (monotonic seconds), and why (``reason``) where it is lost.

    ``lost`` counts how often it was lost, ``attempts`` how often opening it again was tried. ``size`` is the width and
    height of its frames in pixels, ``last_frame_at`` when the newest was processed (monotonic seconds), ``fps`` frames
    processed a second of late. ``tracks`` are the faces in sight, ``runtime`` counts and times.
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

    @property
    def delivers(self) -> bool:
        """Whether frames come, be they dark."""
        return self.state in (SourceState.WATCHING, SourceState.DARK)


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """One output: whether its last attempt went well, and how many events it passed on, holds, and had to drop."""

    name: str
    working: bool = True
    problem: str | None = None
    sent: int = 0
    waiting: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class ChipStatus:
    """The chip: temperature in °C, what slows it down now, and what did since it was switched on.

    ``budget_share`` is the part of the budget for searches, 0..1, that its temperature leaves.
    """

    temperature_c: float | None = None
    throttled: tuple[str, ...] = ()
    throttled_before: tuple[str, ...] = ()
    budget_share: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What classifies: the bundle's name, version and variant, and its labels in their order."""

    name: str = ""
    version: str = ""
    variant: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """All of it at one moment (``mono``, monotonic seconds); ``started_at`` is seconds since the epoch."""

    mono: float
    started_at: float
    uptime_s: float
    ready: bool
    privacy: str
    model: ModelStatus
    sources: tuple[SourceStatus, ...]
    sinks: tuple[SinkStatus, ...]
    chip: ChipStatus
    recent: tuple[EmotionEvent, ...] = field(default=())


class StatusBoard:
    """Holds the newest ``DaemonStatus``; every method may be called from any thread."""

    def __init__(self, privacy: str = "events") -> None:
        self._lock = threading.Lock()
        self._privacy = privacy
        self._started_at, self._started = time.time(), time.monotonic()
        self._ready = False
        self._model = ModelStatus()
        self._chip = ChipStatus()
        self._sources: dict[str, SourceStatus] = {}
        self._runtimes: dict[str, Callable[[], RuntimeStatus]] = {}
        self._sinks: list[Callable[[], SinkStatus]] = []
        self._recent: deque[EmotionEvent] = deque(maxlen=_RECENT_EVENTS)

    def set_ready(self) -> None:
        """The model is loaded, and every source has a supervisor."""
        with self._lock:
            self._ready = True

    def set_model(self, model: ModelStatus) -> None:
        """Tell what classifies."""
        with self._lock:
            self._model = model

    def set_chip(self, chip: ChipStatus) -> None:
        """Tell how the chip is."""
        with self._lock:
            self._chip = chip

    def watch_sink(self, status: Callable[[], SinkStatus]) -> None:
        """``status`` tells how one output is, whenever it is asked."""
        with self._lock:
            self._sinks.append(status)

    def watch_runtime(self, source: str, status: Callable[[], RuntimeStatus]) -> None:
        """``status`` tells the counts and times of ``source``, whenever it is asked."""
        with self._lock:
            self._runtimes[source] = status

    def source(self, name: str) -> SourceStatus:
        """What was last told of ``name``; it begins as opening."""
        with self._lock:
            return self._sources.setdefault(name, SourceStatus(name, since=time.monotonic()))

    def update_source(self, status: SourceStatus) -> None:
        """Put ``status`` in place of what was told of that source."""
        with self._lock:
            self._sources[status.name] = status

    def tell(self, event: EmotionEvent) -> None:
        """Remember ``event`` among the recent ones."""
        with self._lock:
            self._recent.append(event)

    def snapshot(self, *, with_runtimes: bool = True) -> DaemonStatus:
        """All of it now; counts and times of the sources, which take milliseconds to sum up, only if wanted."""
        with self._lock:
            sources, runtimes, sinks = list(self._sources.values()), dict(self._runtimes), list(self._sinks)
            model, chip, ready, recent = self._model, self._chip, self._ready, tuple(self._recent)
        # Asked outside the lock: they have locks of their own.
        sources = [
            replace(source, runtime=runtimes[source.name]()) if with_runtimes and source.name in runtimes else source
            for source in sources
        ]
        now = time.monotonic()
        return DaemonStatus(
            mono=now,
            started_at=self._started_at,
            uptime_s=now - self._started,
            ready=ready,
            privacy=self._privacy,
            model=model,
            sources=tuple(sources),
            sinks=tuple(status() for status in sinks),
            chip=chip,
            recent=recent,
        )
