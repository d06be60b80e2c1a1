"""The worker thread of one source: opens it, runs it, reports, and opens it again when it is lost."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace

from fer_edge.daemon.reports import (
    FrameProcessed,
    Report,
    SourceAlive,
    SourceEnded,
    SourceLost,
    SourcePaused,
    SourceReopening,
    SourceWatched,
    TracksEnded,
)
from fer_edge.errors import InputError, SourceLostError
from fer_edge.frames import Limits
from fer_edge.pipeline import SourceRun
from fer_edge.protocols import FrameSource
from fer_edge.settings.service import RecoverySettings
from fer_edge.sources import Opening
from fer_edge.sources.base import keep_colour
from fer_edge.sources.health import StuckInTheDarkError, WatchedSource
from fer_edge.system.driver_threads import DriverThread
from fer_edge.system.timing import Backoff

_ALIVE_EVERY_S = 1.0
"""Seconds between two reports of frames that are not processed."""
_POLL_S = 0.02
_PAUSE_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """What a worker needs. Workers put their reports on ``reports``, which they share, and wait while it is full."""

    open_run: Callable[[str, FrameSource], SourceRun]
    reports: queue.Queue[Report]
    stop: threading.Event
    colour: threading.Event = field(default_factory=threading.Event)
    """Set while a recorder wants the frames in colour."""
    limits: Limits = field(default_factory=Limits)
    recovery: RecoverySettings = field(default_factory=RecoverySettings)


class _Halt(threading.Event):
    """Set while any of ``events`` is."""

    def __init__(self, *events: threading.Event) -> None:
        super().__init__()
        self._events = events

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._events)

    def wait(self, timeout: float | None = None) -> bool:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (left_s := until - time.monotonic()) > 0:
            self._events[0].wait(min(left_s, _POLL_S))
        return self.is_set()


class SourceWorker:
    """Runs one source in its own thread, which calls nothing of the daemon: it only posts reports.

    With ``recovery.reconnect``, a camera or stream that is lost is opened again, after waits that double, for as long
    as it takes; so is one that cannot be opened at first. A file is read once. The last report is ``SourceEnded``.

    While ``pause`` is set, a camera or stream is closed.
    """

    def __init__(self, opening: Opening, order: WorkOrder, pause: threading.Event | None = None) -> None:
        self.name = opening.name
        self._opening, self._order, self._post = opening, order, order.reports.put
        self._pause = pause if pause is not None and opening.reopens else threading.Event()
        self._halt = _Halt(order.stop, self._pause)
        self._backoff = Backoff(order.recovery.retry_min_s, order.recovery.retry_max_s)
        self._source_run: SourceRun | None = None
        self._live: bool | None = None
        """Of the source; None before it was open for the first time."""
        self._began = time.monotonic()
        self._frames = 0
        self._lost = self._dark = False
        self._watched_since = math.inf
        self._alive_at = -math.inf

    def start(self) -> None:
        """Start the thread."""
        DriverThread(target=self.run, name=f"source {self.name}").start()

    def run(self) -> None:
        """Run until the source ends, a limit is reached or ``stop`` is set."""
        error: Exception | None = None
        try:
            self._run()
        except Exception as problem:  # noqa: BLE001 - reported to the main thread, which raises it
            error = problem
        self._post(SourceEnded(self.name, error))

    def _run(self) -> None:
        while True:
            try:
                self._watch_once()
                if not self._pause.is_set() or self._spent():
                    return
            except StuckInTheDarkError:
                self._opening.again()
                continue
            except (InputError, SourceLostError) as error:
                self._report_lost(error)
                self._wait_until_released()
                self._post(SourceAlive(self.name))
                if self._order.stop.wait(self._next_wait_s()) or self._spent():
                    return
            if self._pause.is_set():
                self._wait_while_paused()
                if self._spent():
                    return
            self._opening.again()
            self._post(SourceReopening(self.name))

    def _wait_until_released(self) -> None:
        while self._opening.busy and not self._order.stop.is_set():  # in a call of its driver
            self._order.stop.wait(_POLL_S)

    def _wait_while_paused(self) -> None:
        self._wait_until_released()
        self._post(SourcePaused(self.name))
        self._lost = False
        while self._pause.is_set() and not self._spent():
            self._report_alive()  # for the watchdog
            self._order.stop.wait(_PAUSE_POLL_S)

    def _watch_once(self) -> None:
        with closing(self._opening):  # after everything else: closing a camera that hangs takes seconds
            source = self._opening.wait(self._order.stop)
            if source is not None:
                self._watch(source)

    def _watch(self, source: FrameSource) -> None:
        limits = self._order.limits if self._live is None else self._left()
        if self._live is None:
            self._live, self._began = source.live, time.monotonic()
        if source.live and self._order.recovery.reconnect:
            source = WatchedSource(
                source,
                self._order.recovery,
                unproven=self._lost,
                dark=self._dark,
                on_picture=self._report_alive,
                on_watched=self._report_watched,
            )
        else:
            self._report_watched(dark=False)
        if self._source_run is None:
            self._source_run = self._order.open_run(self.name, source)
        else:
            self._source_run.resume(source)
        before = self._frames
        keep_colour(source, self._order.colour.is_set())
        try:
            with closing(self._source_run.watch(self._halt, limits)) as results:
                for result in results:
                    self._frames += 1
                    keep_colour(source, self._order.colour.is_set())
                    self._post(FrameProcessed(self.name, result, self._source_run.telemetry))
        finally:
            if self._frames > before:
                self._post(TracksEnded(self.name, self._source_run.finish()))

    def _report_lost(self, error: InputError | SourceLostError) -> None:
        """Report it; raise ``error`` again if the source will not be opened again."""
        # A wrong setting stays wrong, but a source that once worked may work again. A film is not read a second time.
        hopeful = isinstance(error, SourceLostError) if self._live is None else self._live
        reopens = self._order.recovery.reconnect and self._opening.reopens
        self._lost = True
        self._post(SourceLost(self.name, error, bool(self._live), reopens, self._opening.opening))
        # Asked to end while it tries again, it ends as one that waits for the next attempt: without an error.
        if not (reopens and hopeful) or (self._spent() and not self._order.stop.is_set()):
            raise error

    def _report_watched(self, dark: bool) -> None:
        self._watched_since = min(self._watched_since, time.monotonic())
        self._lost, self._dark = False, dark
        self._post(SourceWatched(self.name, dark))

    def _report_alive(self) -> None:
        """Report frames that are not processed; the others report for themselves."""
        now = time.monotonic()
        if now - self._alive_at >= _ALIVE_EVERY_S:
            self._alive_at = now
            self._post(SourceAlive(self.name))

    def _next_wait_s(self) -> float:
        """Return how long to wait before the next attempt: the first wait again after one that lasted a while."""
        if time.monotonic() - self._watched_since > self._backoff.wait_s:
            self._backoff.reset()
        self._watched_since = math.inf
        wait_s = self._backoff.take()
        left_s = self._left().duration_s
        return wait_s if left_s is None else min(wait_s, left_s)

    def _left(self) -> Limits:
        """Return what the limits leave; a duration counts on while a camera is away."""
        limits, elapsed_s = self._order.limits, time.monotonic() - self._began
        return replace(
            limits,
            duration_s=None if limits.duration_s is None else max(0.0, limits.duration_s - elapsed_s),
            max_frames=None if limits.max_frames is None else max(0, limits.max_frames - self._frames),
        )

    def _spent(self) -> bool:
        left = self._left()
        return self._order.stop.is_set() or left.duration_s == 0 or left.max_frames == 0
