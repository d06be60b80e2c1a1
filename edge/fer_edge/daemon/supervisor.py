"""One source for as long as the program runs: opened, watched, reported when it is lost, and opened again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol

from fer_edge.errors import InputError, SourceLostError
from fer_edge.frames import Limits
from fer_edge.pipeline import SourceRun
from fer_edge.protocols import FrameSource
from fer_edge.settings.service import RecoverySettings
from fer_edge.sources import Opening
from fer_edge.sources.health import StuckInTheDarkError, WatchedSource
from fer_edge.status import SourceState, StatusBoard
from fer_edge.system.backoff import Backoff
from fer_edge.types import EmotionEvent, EventKind, FrameResult

Lost = InputError | SourceLostError

_POLL_S = 0.2
"""How long a wait for a thread lasts before the wish to stop is looked at again."""


class Takers(Protocol):
    """Who takes what comes out of a source; see ``daemon.Outputs``."""

    def deliver(self, result: FrameResult) -> None:
        """Take one frame's result and its events. Raises OutputError."""
        ...

    def emit(self, events: tuple[EmotionEvent, ...]) -> None:
        """Take events. Raises OutputError."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all supervisors of a program share.

    A driver call may block for at most ``deadline_s`` seconds; ``on_hung(name)`` is called for a source in which one
    takes longer. ``on_lost(error, final)`` is called when a source is lost; ``final`` is true if it will not be
    reopened. ``on_progress(name)`` is called for each picture and after each attempt to open the source,
    ``on_ended(name)`` when there will be no more. All are called from the sources' threads.
    """

    outputs: Takers
    stop: threading.Event
    limits: Limits = field(default_factory=Limits)
    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    deadline_s: float = math.inf
    board: StatusBoard = field(default_factory=StatusBoard)
    on_lost: Callable[[Lost, bool], None] = lambda error, final: None
    on_progress: Callable[[str], None] = lambda name: None
    on_ended: Callable[[str], None] = lambda name: None
    on_hung: Callable[[str], None] = lambda name: None


class Supervisor:
    """Runs one source in the thread that calls ``run``.

    With ``recovery.reconnect`` a camera or stream that is lost is opened again, after waits that double, for as long
    as it takes; so is one that cannot be opened at first. A file is read once.
    """

    def __init__(self, opening: Opening, equip: Callable[[str, FrameSource], SourceRun], around: Surroundings) -> None:
        self.name = opening.name
        self._opening, self._equip, self._around = opening, equip, around
        self._backoff = Backoff(around.recovery.retry_after_s, around.recovery.retry_most_s)
        self._run_of_source: SourceRun | None = None
        self._live: bool | None = None
        """Of the source; None before it was open for the first time."""
        self._began = time.monotonic()
        self._frames = 0
        self._lost = False
        self._good_since = math.inf
        self._hung_openings = 0

    def run(self) -> None:
        """Until the source ends, a limit is reached or ``stop`` is set. Raises what ended it, if that was a failure."""
        try:
            self._run()
        finally:
            self._around.on_ended(self.name)

    def _run(self) -> None:
        while True:
            try:
                self._watch_once()
                self._state(SourceState.ENDED)
                return
            except StuckInTheDarkError:
                self._opening.again()
                continue
            except (InputError, SourceLostError) as error:
                self._tell_lost(error)
                if not self._worth_another(error):
                    self._state(SourceState.ENDED, str(error))
                    self._around.on_lost(error, True)
                    raise
            finally:
                self._around.on_progress(self.name)
            self._check_driver()
            if self._around.stop.wait(self._next_wait_s()) or self._spent():
                self._state(SourceState.ENDED)
                return
            self._opening.again()
            status = self._around.board.source(self.name)
            self._around.board.update_source(replace(status, attempts=status.attempts + 1))

    def _watch_once(self) -> None:
        with closing(self._opening):  # last of all: a camera that hangs takes seconds to close
            source = self._opening.wait(self._around.stop)
            if source is not None:
                self._watch(source)

    def _watch(self, source: FrameSource) -> None:
        again = self._live is not None
        limits = self._left() if again else self._around.limits
        if not again:
            self._live, self._began = source.live, time.monotonic()
        if source.live and self._around.recovery.reconnect:
            source = WatchedSource(
                source,
                self._around.recovery,
                unproven=self._lost,
                dark=self._around.board.source(self.name).state is SourceState.DARK,
                on_picture=lambda: self._around.on_progress(self.name),
                on_watched=lambda dark: self._tell_watching(dark=dark),
            )
        else:
            self._tell_watching()
        if self._run_of_source is None:
            self._run_of_source = self._equip(self.name, source)
        else:
            self._run_of_source.resume(source)
        before = self._frames
        try:
            with closing(self._run_of_source.watch(self._around.stop, limits)) as results:
                for result in results:
                    self._frames += 1
                    self._around.outputs.deliver(result)
                    self._around.on_progress(self.name)
        finally:
            if self._frames > before:
                self._around.outputs.emit(self._run_of_source.finish())

    def _worth_another(self, error: Lost) -> bool:
        """A wrong setting stays wrong, but what once worked may work again; a film that broke off began long ago."""
        hopeful = isinstance(error, SourceLostError) if self._live is None else self._live
        return self._around.recovery.reconnect and self._opening.reopens and hopeful and not self._spent()

    def _next_wait_s(self) -> float:
        """How long to wait before the next attempt: from the start again after one that did well for a while."""
        if time.monotonic() - self._good_since > self._backoff.wait_s:
            self._backoff.reset()
        self._good_since = math.inf
        wait_s = self._backoff.take()
        left_s = self._left().duration_s
        return wait_s if left_s is None else min(wait_s, left_s)

    def _check_driver(self) -> None:
        """The threads that read and stop a source end once it is closed, unless they hang in a call of the driver.

        One that opens a source is given the time of two attempts.
        """
        self._hung_openings = self._hung_openings + 1 if self._opening.busy else 0
        hangs = self._hung_openings > 1
        for thread in threading.enumerate():
            if thread.name in (f"read {self.name}", f"stop {self.name}"):
                until = time.monotonic() + self._around.deadline_s
                while thread.is_alive() and time.monotonic() < until and not self._around.stop.is_set():
                    thread.join(_POLL_S)
                hangs = hangs or thread.is_alive()
        if hangs and not self._around.stop.is_set():
            self._around.on_hung(self.name)

    def _tell_lost(self, error: Lost) -> None:
        self._state(SourceState.LOST, str(error))
        may_return = self._around.recovery.reconnect and self._opening.reopens
        if not self._lost and (may_return or self._live):
            self._event(EventKind.SOURCE_LOST, str(error))
            if may_return:
                self._around.on_lost(error, False)
        self._lost = True

    def _tell_watching(self, *, dark: bool = False) -> None:
        self._good_since = min(self._good_since, time.monotonic())
        self._state(SourceState.DARK if dark else SourceState.WATCHING)
        if self._lost:
            self._lost = False
            self._event(EventKind.SOURCE_BACK)

    def _event(self, kind: EventKind, reason: str | None = None) -> None:
        self._around.outputs.emit((EmotionEvent(kind, self.name, time.time(), time.monotonic(), reason=reason),))

    def _state(self, state: SourceState, reason: str | None = None) -> None:
        board, now = self._around.board, time.monotonic()
        status = board.source(self.name)
        changed = status.state is not state
        board.update_source(
            replace(
                status,
                state=state,
                since=now if changed else status.since,
                reason=reason,
                lost=status.lost + (changed and state is SourceState.LOST),
                tracks=status.tracks if state in (SourceState.WATCHING, SourceState.DARK) else (),
            )
        )

    def _left(self) -> Limits:
        """What the limits leave; a duration counts on while a camera is away."""
        limits, elapsed_s = self._around.limits, time.monotonic() - self._began
        return replace(
            limits,
            duration_s=None if limits.duration_s is None else max(0.0, limits.duration_s - elapsed_s),
            max_frames=None if limits.max_frames is None else max(0, limits.max_frames - self._frames),
        )

    def _spent(self) -> bool:
        left = self._left()
        return self._around.stop.is_set() or left.duration_s == 0 or left.max_frames == 0
