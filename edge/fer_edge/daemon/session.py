"""One life of the settings, from opening the sources to the figures of the run; a reload ends it and begins another."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from fer_edge.chip.budget import ChipCare
from fer_edge.daemon.outputs import Outputs, Recorder, open_outputs
from fer_edge.daemon.progress import Progress
from fer_edge.daemon.supervisor import Supervisor, Surroundings
from fer_edge.daemon.threads import StopRequest, run_supervisors
from fer_edge.errors import InputError, OutputError, SourceLostError
from fer_edge.frames import Limits
from fer_edge.model.bundle import ModelBundle, load_bundle
from fer_edge.pipeline import Pipeline, SourceRun
from fer_edge.protocols import FrameSource
from fer_edge.recording.trace import StatsWriter, combined_stats
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.line_file import STANDARD_OUTPUT
from fer_edge.sources import Opening, first_to_open, open_sources, source_names
from fer_edge.sources.base import DEFAULT_FPS
from fer_edge.status import DaemonStatus, ModelStatus, SourceState, StatusBoard
from fer_edge.system.messages import print_message
from fer_edge.system.notify import Notifier
from fer_edge.telemetry import Telemetry
from fer_edge.types import InterpreterInfo, RuntimeStatus

EXIT_HUNG = SourceLostError.exit_code
"""A driver that hangs cannot be taken back into order from within: systemd starts the program again."""

_DRIVER_S = 11.0
"""A driver has ``timeout_s`` to come back from a call, and at least this: OpenCV waits 10 s for a V4L2 camera."""
_BETWEEN_S = 30.0
"""Time that two signs of progress may lie apart beside all that is waited for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended: what is to be raised (or was told already), and the figures of its sources."""

    failure: Exception | None
    told: bool
    statuses: Sequence[RuntimeStatus]


class Pipelines:
    """Loads a pipeline for each source, since each runs in a thread of its own. Its methods may be called from any."""

    def __init__(self, settings: RuntimeSettings, bundle: ModelBundle, board: StatusBoard) -> None:
        self._settings, self._bundle, self._board = settings, bundle, board
        self._made: dict[str, tuple[Pipeline, Telemetry]] = {}

    def load(self, name: str) -> tuple[Pipeline, Telemetry]:
        """Load the pipeline for the source ``name``, if it is not loaded yet.

        Raises:
            ModelError: If the bundle or the detector is refused.
        """
        if name not in self._made:
            telemetry = Telemetry()
            self._made[name] = Pipeline.from_bundle(self._bundle, self._settings), telemetry
            self._board.watch_runtime(name, telemetry.snapshot)
        return self._made[name]

    def open(self, name: str, source: FrameSource) -> SourceRun:
        """Return a run over ``source``, loading the pipeline if necessary. Raises as ``load``."""
        pipeline, telemetry = self.load(name)
        return pipeline.open(source, telemetry=telemetry)

    def scale_budget(self, share: float) -> None:
        """Leave all pipelines ``share``, 0..1, of their search budget."""
        for pipeline, _ in list(self._made.values()):
            pipeline.budget_share = share

    def statuses(self) -> dict[str, RuntimeStatus]:
        """What was counted and timed so far, by the names of the sources, in the order of the URIs."""
        names = [name for name in source_names(self._settings.source.uris) if name in self._made]
        return {name: self._made[name][1].snapshot() for name in names}


class Session:
    """Runs ``settings`` until its sources end, ``stop`` is asked for, or ``meanwhile`` ends it.

    ``meanwhile`` is called a few times a second in the main thread.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        limits: Limits,
        stop: StopRequest,
        notifier: Notifier,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._limits, self._stop = settings, limits, stop
        self._notifier, self._meanwhile = notifier, meanwhile
        self._several = len(settings.source.uris) > 1
        self._lost: list[Exception] = []
        self._told_status = ""

    def run(self) -> Outcome:
        """Raises FerEdgeError for what is refused before the first source runs; later failures are in the outcome."""
        settings = self._settings
        with ExitStack() as stack:
            # All that can be refused comes before the first output is touched, and before a camera keeps one waiting.
            openings = open_sources(settings.source.uris, settings.source, realtime=settings.source.realtime)
            for opening in openings:
                stack.callback(opening.close)
            bundle = stack.enter_context(load_bundle(Path(settings.model.bundle) if settings.model.bundle else None))
            bundle.variant(settings.model.variant)
            self._board = StatusBoard(settings.output.privacy)
            pipelines = Pipelines(settings, bundle, self._board)
            openings, fps = self._await_sources(openings, pipelines)
            if not openings:
                return self._none_left()
            self._board.set_model(_model_status(bundle, settings.model.variant))
            page = self._open_page(stack)
            stats = None
            if settings.output.stats is not None:
                stats = StatsWriter(Path(settings.output.stats))
                stack.callback(stats.close)
            live = settings.source.realtime or any(opening.reopens for opening in openings)
            outputs = stack.enter_context(
                open_outputs(
                    settings,
                    self._board,
                    fps,
                    bundle.manifest.labels,
                    live=live,
                    also=page,
                    stop=self._stop.asked,
                )
            )
            failure = self._supervise(openings, pipelines, outputs, live=live)
            return self._finish(failure, outputs, stats, pipelines)

    def _await_sources(self, openings: list[Opening], pipelines: Pipelines) -> tuple[list[Opening], float]:
        """Those worth a supervisor, and the frames a second of the first.

        A service does not wait for any camera. Otherwise there is no use in outputs before one source is open.
        """
        fps = self._settings.source.fps or DEFAULT_FPS
        if self._settings.recovery.reconnect:
            for opening in openings:
                pipelines.load(opening.name)
            return openings, fps
        first, left = first_to_open(openings, self._stop.asked, lambda error: self._on_lost(error, True))
        if first is None:
            return [], fps
        pipelines.load(first.name)
        return left, first.fps

    def _open_page(self, stack: ExitStack) -> list[Recorder]:
        """The status page, where it is wanted; what feeds it."""
        settings, aggregate = self._settings, self._settings.output.privacy == "aggregate"
        if not settings.web.enabled:
            return []
        from fer_edge.web import History, PageRecorder, Previews, open_web, stale_after

        history = History(max(60.0, settings.output.aggregate_s), finished_only=True) if aggregate else History()
        previews = Previews(self._board.snapshot(with_runtimes=False).model.labels) if settings.web.preview else None
        stale_after_s = stale_after(settings.source)
        server = stack.enter_context(
            open_web(settings.web, self._board, history, previews, stale_after_s=stale_after_s)
        )
        print_message(f"status page at {server.url}")
        return [PageRecorder(history, previews)]

    def _none_left(self) -> Outcome:
        if self._stop.asked.is_set():
            return Outcome(None, False, [])
        return Outcome(self._lost[0], self._told(self._lost[0]), [])

    def _supervise(
        self, openings: Sequence[Opening], pipelines: Pipelines, outputs: Outputs, *, live: bool
    ) -> Exception | None:
        source, recovery, names = self._settings.source, self._settings.recovery, [o.name for o in openings]
        deadline_s = max(source.timeout_s, _DRIVER_S)
        # Opening takes no longer than three times its timeout, silence once that; what reads and what stops may hang.
        longest_s = 4 * source.timeout_s + 2 * deadline_s + recovery.retry_most_s + _BETWEEN_S
        longest_s += sum(1 / rate for rate in (source.fps, source.max_fps) if rate is not None)
        self._notifier.extend_watchdog(longest_s)
        progress = Progress(names, self._notifier.watchdog, longest_s)

        def on_hung(name: str) -> None:
            print_message(f"{name}: its driver does not come back from a call; ending, to be started again")
            self._notifier.status(f"{name}: its driver hangs")
            outputs.finish(None)
            os._exit(EXIT_HUNG)

        around = Surroundings(
            outputs,
            self._stop.asked,
            self._limits,
            recovery,
            deadline_s,
            self._board,
            self._on_lost,
            on_progress=progress.beat,
            on_ended=progress.ended,
            on_hung=on_hung,
        )
        for name in names:
            self._board.source(name)
        care = ChipCare(self._settings.chip, self._board.set_chip)

        def between() -> None:
            if live:  # a file takes what it takes, so that it gives the same everywhere
                pipelines.scale_budget(care.poll(time.monotonic()).budget_share)
            self._tell_status()
            self._meanwhile()

        self._board.set_ready()
        self._notifier.ready()
        supervisors = [Supervisor(opening, pipelines.open, around) for opening in openings]
        return run_supervisors(supervisors, self._stop.asked, between) or next(iter(self._lost), None)

    def _tell_status(self) -> None:
        status = status_line(self._board.snapshot(with_runtimes=False))
        if status != self._told_status:
            self._told_status = status
            self._notifier.status(status)

    def _on_lost(self, error: Exception, final: bool) -> None:
        if final:
            self._lost.append(error)
        if self._several or not final:
            print_message(str(error))

    def _finish(
        self, failure: Exception | None, outputs: Outputs, stats: StatsWriter | None, pipelines: Pipelines
    ) -> Outcome:
        statuses = pipelines.statuses()
        # What has been told already must not hide that an output could not be finished.
        failure = outputs.finish(None if self._told(failure) else failure) or failure
        if stats is not None:
            try:
                stats.write(combined_stats(statuses, by_source=self._several))
            except OutputError as error:
                failure = error if failure is None or self._told(failure) else failure
        if self._settings.output.events != STANDARD_OUTPUT and (failure is None or self._told(failure)):
            _print(_summary(list(statuses.values())))
        return Outcome(failure, self._told(failure), list(statuses.values()))

    def _told(self, failure: Exception | None) -> TypeGuard[InputError | SourceLostError]:
        """Whether it was told when it happened: the loss of one source of several, which ended no other."""
        return self._several and isinstance(failure, InputError | SourceLostError)


def status_line(status: DaemonStatus) -> str:
    """How the sources are, in one line: ``1 of 2 sources watched; door lost: nothing listens at …``."""
    watched = sum(source.delivers for source in status.sources)
    parts = [f"{watched} of {len(status.sources)} {'source' if len(status.sources) == 1 else 'sources'} watched"]
    for source in status.sources:
        if source.state is not SourceState.WATCHING:
            reason = (source.reason or "").removeprefix(f"{source.name}: ")
            parts.append(f"{source.name} {source.state.value}" + (f": {reason}" if reason else ""))
    parts += [f"{sink.name}: {sink.problem}" for sink in status.sinks if not sink.working and sink.problem]
    return "; ".join(parts)


def _print(text: str) -> None:
    """On standard output, unless nobody reads there any more: a pipe that is full would keep the program for ever."""
    with suppress(OSError, ValueError):  # no file of the system's, as under a test: then it cannot be full
        if not select.select([], [sys.stdout], [], 0)[1]:
            return
    sys.stdout.write(text)
    sys.stdout.flush()


def _model_status(bundle: ModelBundle, variant: str) -> ModelStatus:
    manifest = bundle.manifest
    return ModelStatus(manifest.name, manifest.version, variant, tuple(manifest.labels))


def _summary(statuses: Sequence[RuntimeStatus]) -> str:
    frames, dropped, faces, events = (
        sum(getattr(status, name) for status in statuses) for name in ("frames", "dropped", "faces", "events")
    )
    wall_s = max(status.wall_s for status in statuses)
    counts = f"{frames} frames, {dropped} dropped, {faces} faces found, {events} events in {wall_s:.1f} s\n"
    return counts + _interpreter_line(statuses[0].interpreter)


def _interpreter_line(info: InterpreterInfo | None) -> str:
    """What ran the classifier; the same for all sources."""
    if info is None:
        return ""
    taken = f"{info.delegate or 'no delegate'} took {info.delegated_nodes} of {info.nodes} nodes"
    threads = "1 thread" if info.threads == 1 else f"{info.threads} threads"
    return f"{info.name} {info.version}, {threads}" + ("\n" if info.nodes is None else f"; {taken}\n")
