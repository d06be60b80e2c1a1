"""What a source's worker reports to the main thread."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from fer_edge.telemetry import Telemetry
from fer_edge.types import EmotionEvent, FrameResult


@dataclass(frozen=True, slots=True)
class Report:
    """Something that happened to ``source`` at ``mono``, monotonic seconds."""

    source: str
    mono: float = field(default_factory=time.monotonic, kw_only=True)


@dataclass(frozen=True, slots=True)
class SourceWatched(Report):
    """Its frames are processed from now on; ``dark`` says that they show nothing until there is light."""

    dark: bool


@dataclass(frozen=True, slots=True)
class SourceAlive(Report):
    """Its worker and its driver respond: a frame is not processed, as while it is dark, or a call has returned."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameProcessed(Report):
    """The result of one frame."""

    result: FrameResult
    telemetry: Telemetry


@dataclass(frozen=True, slots=True)
class TracksEnded(Report):
    """``left`` for each face that was in sight when the source ended or was lost."""

    events: tuple[EmotionEvent, ...]


@dataclass(frozen=True, slots=True)
class SourceLost(Report):
    """It cannot be opened, broke off, or gives nothing usable.

    ``live`` says that it had been open, as a camera or a stream. ``reopens`` says that it can be opened again in
    principle; if it will not be, ``SourceEnded`` follows. ``opening`` says that the call that opens it has not
    returned.
    """

    error: Exception
    live: bool
    reopens: bool
    opening: bool = False


@dataclass(frozen=True, slots=True)
class SourcePaused(Report):
    """It was closed, because it is to be paused."""


@dataclass(frozen=True, slots=True)
class SourceReopening(Report):
    """It is being opened again."""


@dataclass(frozen=True, slots=True)
class SourceEnded(Report):
    """The worker has ended: with the source, by a limit, by a request, or because of ``error``."""

    error: Exception | None = None
