"""The main loop: the one thread that owns outputs, status, watchdog, printing and the decision to end."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from fer_edge.daemon.outputs import Outputs
from fer_edge.daemon.reports import (
    FrameProcessed,
    Report,
    SourceEnded,
    SourceLost,
    SourcePaused,
    SourceReopening,
    SourceWatched,
    TracksEnded,
)
from fer_edge.daemon.signals import StopRequest
from fer_edge.daemon.worker import SourceWorker, WorkOrder
from fer_edge.errors import InputError, SourceLostError
from fer_edge.frames import Limits
from fer_edge.pipeline import SourceRun
from fer_edge.protocols import FrameSource
from fer_edge.settings.service import RecoverySettings
from fer_edge.sources import Opening
from fer_edge.status import SourceState, StatusBoard
from fer_edge.system.messages import print_message
from fer_edge.types import EmotionEvent, EventKind

_TICK_S = 0.2
"""Seconds between two calls of ``on_tick``."""
_MAX_STOPPING_S = 2.2
"""Seconds that a worker has to end after SIGTERM: a source waits 2 s for its reader thread. Then it is abandoned."""
_REPORTS_PER_SOURCE = 2
"""Maximum number of reports that wait for the main thread: each holds a frame, and gets old while it waits."""


class DriverHungError(SourceLostError):
    """A driver call does not return. This process cannot recover from that: systemd restarts the program."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How sources are run: their limits, and the reaction to a lost one.

    Attributes:
        driver_s: Maximum silence of a source after it was lost, until its driver has returned, seconds.
        opening_s: As ``driver_s``, if it is still being opened.
        watchdog_s: Maximum silence at any time, seconds; beyond it the watchdog is no longer notified, and systemd ends
            the program.
        print_losses: Also report a source that is lost permanently, since the others continue.
        tell: Called with the reason of a lost source.
    """

    limits: Limits = field(default_factory=Limits)
    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    driver_s: float = math.inf
    opening_s: float = math.inf
    watchdog_s: float = math.inf
    print_losses: bool = False
    tell: Callable[[str], object] = print_message
    max_fps: Mapping[str, float | None] = field(default_factory=dict)
    """Of single sources, by name; the others have that of ``limits``."""


@dataclass(slots=True)
class _Source:
    """The main thread's state of a source."""

    reported_at: float
    patience_s: float = math.inf
    lost: bool = False


class MainLoop:
    """Runs workers until all have ended, and deals with what they report.

    A source that is lost permanently ends only its own worker. Any other failure, such as of an output, ends them all.
    """

    def __init__(
        self,
        openings: Iterable[Opening],
        open_run: Callable[[str, FrameSource], SourceRun],
        outputs: Outputs,
        stop: StopRequest,
        plan: Plan | None = None,
        board: StatusBoard | None = None,
    ) -> None:
        openings, plan = tuple(openings), plan or Plan()
        self._reports: queue.Queue[Report] = queue.Queue(_REPORTS_PER_SOURCE * len(openings))
        order = WorkOrder(open_run, self._reports, stop.asked, recovery=plan.recovery)
        self._colour = order.colour
        self._outputs, self._stop, self._board = outputs, stop, board or StatusBoard()
        self._workers = []
        for opening in openings:
            limits = replace(plan.limits, max_fps=plan.max_fps.get(opening.name, plan.limits.max_fps))
            pause = self._board.pause_of(opening.name)
            self._workers.append(SourceWorker(opening, replace(order, limits=limits), pause))
        self._plan, self._tell = plan, plan.tell
        self._running: dict[str, _Source] = {}
        self._failures: list[Exception] = []
        self._losses: list[Exception] = []
        self._stopping_until = math.inf

    def run(
        self, on_tick: Callable[[], object] = lambda: None, feed_watchdog: Callable[[], object] = lambda: None
    ) -> Exception | None:
        """Run until every source has ended.

        Args:
            on_tick: Called a few times a second.
            feed_watchdog: Called after each report while no source has been silent for too long.

        Returns:
            The worst of what went wrong, for the caller to raise once the outputs are closed, or None: everything that
            was recorded before a camera was lost is worth keeping.
        """
        self._feed_watchdog = feed_watchdog
        now = next_tick = time.monotonic()
        self._running = {worker.name: _Source(now) for worker in self._workers}
        self._ask_for_colour()
        for worker in self._workers:
            worker.start()
        while self._running:
            with suppress(queue.Empty):
                self._handle(self._reports.get(timeout=_TICK_S))
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + _TICK_S
                on_tick()
                self._ask_for_colour()
                self._end_if_a_driver_hangs(now)
                self._abandon_after_stop(now)
        return next(iter(self._failures + self._losses), None)

    def _handle(self, report: Report) -> None:
        source = self._running.get(report.source)
        if source is None:  # its driver hung, and returned after all
            return
        source.reported_at, source.patience_s = report.mono, math.inf
        match report:
            case FrameProcessed():
                self._deliver(report)
            case TracksEnded():
                self._emit(report.events)
            case SourceWatched():
                self._on_watched(report, source)
            case SourceLost():
                self._on_lost(report, source)
            case SourcePaused():
                source.lost = False
                self._set_state(report, SourceState.PAUSED)
            case SourceReopening():
                status = self._board.source(report.source)
                self._board.update_source(replace(status, attempts=status.attempts + 1))
            case SourceEnded():
                self._on_ended(report)
            case _:  # noted above
                pass
        now = time.monotonic()
        if all(now - other.reported_at <= self._plan.watchdog_s for other in self._running.values()):
            self._feed_watchdog()

    def _deliver(self, report: FrameProcessed) -> None:
        try:
            self._outputs.deliver(report.result)
        except Exception as error:  # noqa: BLE001 - raised by the caller
            self._fail(error)
        report.telemetry.record_age(report.result)

    def _ask_for_colour(self) -> None:
        if self._outputs.want_colour:
            self._colour.set()
        else:
            self._colour.clear()

    def _emit(self, events: tuple[EmotionEvent, ...]) -> None:
        try:
            self._outputs.emit(events)
        except Exception as error:  # noqa: BLE001 - raised by the caller
            self._fail(error)

    def _on_watched(self, report: SourceWatched, source: _Source) -> None:
        self._set_state(report, SourceState.DARK if report.dark else SourceState.WATCHING)
        if source.lost:
            source.lost = False
            self._emit((self._event(EventKind.SOURCE_BACK, report),))

    def _on_lost(self, report: SourceLost, source: _Source) -> None:
        source.patience_s = self._plan.opening_s if report.opening else self._plan.driver_s
        self._set_state(report, SourceState.LOST, str(report.error))
        if not source.lost and (report.reopens or report.live):
            self._emit((self._event(EventKind.SOURCE_LOST, report, str(report.error)),))
            if report.reopens:
                self._tell(str(report.error))
        source.lost = True

    def _on_ended(self, report: SourceEnded) -> None:
        del self._running[report.source]
        error = report.error
        self._set_state(report, SourceState.ENDED, None if error is None else str(error))
        if isinstance(error, InputError | SourceLostError):
            self._losses.append(error)
            if self._plan.print_losses:
                self._tell(str(error))
        elif error is not None:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failures.append(error)
        self._stop.asked.set()

    def _end_if_a_driver_hangs(self, now: float) -> None:
        for name, source in list(self._running.items()):
            if now - source.reported_at > source.patience_s and not self._stop.asked.is_set():
                del self._running[name]
                self._fail(
                    DriverHungError(f"{name}: its driver does not come back from a call; ending, to be started again")
                )

    def _abandon_after_stop(self, now: float) -> None:
        """Stop waiting for workers that do not end after SIGTERM or Ctrl-C, such as inside a decoder that hangs."""
        if not self._stop.terminated:
            return
        self._stopping_until = min(self._stopping_until, now + _MAX_STOPPING_S)
        if now >= self._stopping_until:
            for name in self._running:
                self._tell(f"{name}: its driver does not return from a call; ending without it")
            self._running.clear()

    def _event(self, kind: EventKind, report: Report, reason: str | None = None) -> EmotionEvent:
        at = time.time() - (time.monotonic() - report.mono)
        return EmotionEvent(kind, report.source, at, report.mono, reason=reason)

    def _set_state(self, report: Report, state: SourceState, reason: str | None = None) -> None:
        status = self._board.source(report.source)
        changed = status.state is not state
        self._board.update_source(
            replace(
                status,
                state=state,
                since=report.mono if changed else status.since,
                reason=reason,
                lost=status.lost + (changed and state is SourceState.LOST),
                tracks=status.tracks if state.delivers else (),
                presence=status.presence if state.delivers else None,
            )
        )
