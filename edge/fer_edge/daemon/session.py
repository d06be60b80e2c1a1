"""One session: from opening the sources to the summary of the run. A reload ends it and starts another."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from fer_edge.chip.budget import ChipMonitor
from fer_edge.daemon.current_model import open_model, recover
from fer_edge.daemon.loop import DriverHungError, MainLoop, Plan
from fer_edge.daemon.outputs import Outputs, open_outputs
from fer_edge.daemon.pipelines import Pipelines
from fer_edge.daemon.signals import StopRequest
from fer_edge.daemon.summary import ProgressRecorder, print_if_read, run_summary, status_line
from fer_edge.errors import InputError, OutputError, SourceLostError
from fer_edge.frames import Limits
from fer_edge.model.bundle import ModelBundle
from fer_edge.pipeline import reported_labels
from fer_edge.protocols import FrameRecorder
from fer_edge.recording.trace import combined_stats, write_stats
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.line_file import STANDARD_OUTPUT
from fer_edge.sources import Opening, first_to_open, named_sources, open_sources
from fer_edge.sources.base import DEFAULT_FPS
from fer_edge.status import ModelStatus, StatusBoard
from fer_edge.system.files import PendingFile
from fer_edge.system.messages import print_message
from fer_edge.system.notify import Notifier
from fer_edge.types import RuntimeStatus

if TYPE_CHECKING:
    from fer_edge.daemon.updates import Updates

_MIN_DRIVER_S = 11.0
"""A driver call may block for ``timeout_s`` seconds, but never less than this: OpenCV waits 10 s for a V4L2 camera."""
_WATCHDOG_MARGIN_S = 30.0
"""Seconds that the watchdog waits longer than all known waits together."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended: its failure, whether that was already printed, and the counts and times of its sources."""

    failure: Exception | None
    reported: bool
    statuses: Sequence[RuntimeStatus]


class Session:
    """Runs the sources of ``settings`` until they end or ``stop`` is requested.

    ``on_tick`` is called a few times a second. ``show`` opens a window with the frames.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        limits: Limits,
        stop: StopRequest,
        notifier: Notifier,
        on_tick: Callable[[], None] = lambda: None,
        *,
        show: bool = False,
    ) -> None:
        self._settings, self._limits, self._stop = settings, limits, stop
        self._notifier, self._on_tick, self._show = notifier, on_tick, show
        self._sources = named_sources(settings)
        self._several = len(self._sources) > 1
        self._lost: list[Exception] = []
        self._recorders: list[FrameRecorder] = []
        self._last_status_line = ""
        self._updates: Updates | None = None

    def run(self) -> Outcome:
        """Run the session; failures after the first source was started are in the outcome.

        Raises:
            FerEdgeError: If something is refused before that.
        """
        settings = self._settings
        with ExitStack() as stack:
            # Everything that can be refused comes before the first output is opened, and before waiting for a camera.
            openings = open_sources(self._sources, realtime=settings.source.realtime, stop=self._stop.asked)
            for opening in openings:
                stack.callback(opening.close)
            if settings.update.url is not None:
                recover(settings)
            bundle = stack.enter_context(open_model(settings, self._stop.asked))
            if self._stop.asked.is_set():
                return Outcome(None, False, [])
            labels = () if bundle is None else reported_labels(bundle.manifest.labels, settings.emotion)
            self._open_window(stack, labels)
            self._board = StatusBoard(settings.output.privacy, recording=settings.records_pictures)
            pipelines = Pipelines(settings, self._sources, bundle, self._board)
            if bundle is not None and settings.update.url is not None:
                self._updates = stack.enter_context(self._open_updates(pipelines, bundle))
            openings, fps = self._await_sources(openings, pipelines)
            if not openings:
                lost = None if self._stop.asked.is_set() else self._lost[0]
                return Outcome(lost, self._reported(lost), [])
            if bundle is not None:
                manifest = bundle.manifest
                self._board.set_model(ModelStatus(manifest.name, manifest.version, settings.model.variant, labels))
            self._open_page(stack, labels)
            stats = None
            if settings.output.stats is not None:
                stats = PendingFile(Path(settings.output.stats))  # created now, so that a bad path fails at once
                stack.callback(stats.discard)
            zones = {source.name: tuple(source.settings.zones) for source in self._sources}
            for opening in openings:
                self._board.update_source(replace(self._board.source(opening.name), zones=zones[opening.name]))
            live = settings.source.realtime or any(opening.reopens for opening in openings)
            outputs = stack.enter_context(
                open_outputs(settings, self._board, fps, labels, live=live, also=self._recorders, stop=self._stop.asked)
            )
            if live and settings.records_pictures:
                print_message(f"the people in view are recorded in {settings.output.annotate} (output.annotate)")
            if live and self._show:
                print_message("the pictures of the cameras are shown in a window (--show)")
            failure = self._supervise(openings, pipelines, outputs, live=live)
            return self._finish(failure, outputs, stats, pipelines)

    def _await_sources(self, openings: list[Opening], pipelines: Pipelines) -> tuple[list[Opening], float]:
        """Return the sources to run, and the frames per second that are processed of the first.

        A service waits for no camera. Any other run opens its outputs only once a source is open.
        """
        fps = self._sources[0].settings.fps or DEFAULT_FPS
        if self._settings.recovery.reconnect:
            for opening in openings:
                pipelines.load(opening.name)
            return openings, self._processed(fps)
        first, left = first_to_open(openings, self._stop.asked, self._on_lost)
        if first is None:
            return [], fps
        pipelines.load(first.name)
        if not (first.live or self._several):
            self._recorders.append(ProgressRecorder(first, self._limits))
        return left, self._processed(first.fps)

    def _processed(self, fps: float) -> float:
        """Return how many of ``fps`` frames per second of the first source are processed."""
        return min(fps, self._sources[0].settings.max_fps or fps)

    def _open_updates(self, pipelines: Pipelines, bundle: ModelBundle) -> Updates:
        from fer_edge.daemon.updates import Updates
        from fer_edge.update.probation import Watch

        watch = Watch()
        pipelines.watch = watch.add
        return Updates(
            self._settings, bundle, watch, lambda: pipelines.statuses().values(), self._board, self._stop.reload
        )

    def _open_page(self, stack: ExitStack, labels: Sequence[str]) -> None:
        """Start the status page if it is enabled."""
        settings, aggregate = self._settings, self._settings.output.privacy == "aggregate"
        if not settings.web.enabled:
            return
        from fer_edge.web import History, Previews, open_web, stale_after

        history = History(max(60.0, settings.output.aggregate_s), finished_only=True) if aggregate else History()
        previews = Previews(labels) if settings.web.preview else None
        stale_after_s = max(stale_after(source.settings) for source in self._sources)
        server = stack.enter_context(
            open_web(settings.web, self._board, history, previews, stale_after_s=stale_after_s)
        )
        shows = "; it shows the pictures of the cameras (web.preview)" if settings.shows_pictures else ""
        print_message(f"status page at {server.url}{shows}")
        self._recorders += [history] if previews is None else [history, previews]

    def _open_window(self, stack: ExitStack, labels: Sequence[str]) -> None:
        """Open the live window if it is asked for. Closing it ends the run as Ctrl-C does."""
        if self._show:
            from fer_edge.recording.window import LiveWindow

            interrupt = partial(os.kill, os.getpid(), signal.SIGINT)
            self._recorders.append(stack.enter_context(LiveWindow(labels, interrupt)))

    def _supervise(
        self, openings: Sequence[Opening], pipelines: Pipelines, outputs: Outputs, *, live: bool
    ) -> Exception | None:
        recovery, sources = self._settings.recovery, [source.settings for source in self._sources]
        timeout_s = max(source.timeout_s for source in sources)
        driver_s = max(timeout_s, _MIN_DRIVER_S)
        # Opening takes at most three timeouts, silence one; reading and stopping may each hang in the driver.
        watchdog_s = 4 * timeout_s + 2 * driver_s + recovery.retry_max_s + _WATCHDOG_MARGIN_S
        watchdog_s += max(sum(1 / rate for rate in (each.fps, each.max_fps) if rate is not None) for each in sources)
        self._notifier.extend_watchdog(watchdog_s)
        care = ChipMonitor(self._settings.chip, self._board.set_chip)

        def on_tick() -> None:
            if live:  # a file is always searched with the whole budget, so that its trace is the same on any machine
                pipelines.scale_budget(care.poll(time.monotonic()).budget_share)
            self._report_status()
            if self._updates is not None:
                self._updates.poll(time.monotonic())
            self._on_tick()

        self._board.set_ready()
        self._notifier.ready()
        plan = Plan(
            self._limits,
            recovery,
            driver_s=driver_s,
            opening_s=driver_s + 3 * timeout_s,
            watchdog_s=watchdog_s,
            print_losses=self._several,
            max_fps={source.name: source.settings.max_fps for source in self._sources},
        )
        loop = MainLoop(openings, pipelines.open, outputs, self._stop, plan, self._board)
        failure = loop.run(on_tick, self._notifier.watchdog)
        if isinstance(failure, DriverHungError):
            self._notifier.status(str(failure))
        return failure or next(iter(self._lost), None)

    def _report_status(self) -> None:
        status = status_line(self._board.snapshot(with_runtimes=False))
        if status != self._last_status_line:
            self._last_status_line = status
            self._notifier.status(status)

    def _on_lost(self, error: Exception) -> None:
        self._lost.append(error)
        if self._several:
            print_message(str(error))

    def _finish(
        self, failure: Exception | None, outputs: Outputs, stats: PendingFile | None, pipelines: Pipelines
    ) -> Outcome:
        statuses = pipelines.statuses()
        # A failure that was already printed must not hide that an output could not be closed.
        failure = outputs.finish(None if self._reported(failure) else failure) or failure
        if stats is not None:
            try:
                write_stats(stats, combined_stats(statuses, by_source=self._several))
            except OutputError as error:
                failure = error if failure is None or self._reported(failure) else failure
        if self._settings.output.events != STANDARD_OUTPUT and (failure is None or self._reported(failure)):
            print_if_read(run_summary(list(statuses.values())))
        return Outcome(failure, self._reported(failure), list(statuses.values()))

    def _reported(self, failure: Exception | None) -> TypeGuard[InputError | SourceLostError]:
        """Return whether it was printed when it happened: one of several sources was lost, and the others continued."""
        lost = isinstance(failure, InputError | SourceLostError) and not isinstance(failure, DriverHungError)
        return self._several and lost
