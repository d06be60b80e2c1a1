"""``fer-edge run``: sources through the pipeline to events, trace, stats and annotated video."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeGuard

from fer_edge import strict_toml
from fer_edge.annotate import AnnotatedVideo, Annotator
from fer_edge.bundle import DEFAULT_BUNDLE, ModelBundle, load_bundle
from fer_edge.config import RuntimeSettings, load_settings
from fer_edge.daemon import Outputs, Recorder, StopRequest, Stream, run_streams
from fer_edge.errors import ConfigError, InputError, OutputError, SourceLostError
from fer_edge.events import event_to_json
from fer_edge.files import file_identity
from fer_edge.image_files import IMAGE_SUFFIXES
from fer_edge.one_line import say
from fer_edge.opencv_setup import set_up_opencv
from fer_edge.pipeline import FrameResult, Pipeline
from fer_edge.redaction import redacted
from fer_edge.sinks.base import Sink
from fer_edge.sinks.console import ConsoleSink
from fer_edge.sinks.jsonl import STANDARD_OUTPUT, JsonLinesSink
from fer_edge.sources import KNOWN_SOURCES, FrameSource, first_to_open, open_sources, source_names
from fer_edge.sources.limits import Limits
from fer_edge.sources.synthetic import DEMO_URI
from fer_edge.telemetry import Telemetry
from fer_edge.trace import StatsWriter, TraceWriter, combined_stats
from fer_edge.types import InterpreterInfo, RuntimeStatus

EXIT_INTERRUPTED = 130


class VideoRecorder:
    """Draws each result and adds it to an annotated video."""

    def __init__(self, video: AnnotatedVideo, annotator: Annotator) -> None:
        self._video, self._annotator = video, annotator

    def record(self, result: FrameResult) -> None:
        """Add one frame."""
        self._video.write(self._annotator.draw(result), result.frame.captured_at)

    def close(self) -> None:
        """Finish the video."""
        self._video.close()


def run(arguments: argparse.Namespace) -> int:
    """Carry out ``fer-edge run``; returns the exit code. Raises FerEdgeError."""
    settings = load_settings(arguments.config, _overrides(arguments))
    if arguments.print_config:
        table = strict_toml.to_table(settings)
        table["source"]["uris"] = [redacted(uri) for uri in settings.source.uris]
        sys.stdout.write(strict_toml.dump(table).lstrip("\n"))
        return 0
    _check(settings, arguments.config)
    set_up_opencv(settings.detector.threads)
    limits = Limits(arguments.duration, arguments.max_frames, settings.source.max_fps)
    with StopRequest() as stop:
        failure, statuses = _run(settings, limits, stop)
    if failure is not None:
        if not _told(failure, settings):
            raise failure
        return failure.exit_code
    frames = sum(status.frames for status in statuses)
    return EXIT_INTERRUPTED if stop.interrupted and frames == 0 else 0


class Equipment:
    """Gives each source that opens a pipeline of its own, from any thread, and the same one again."""

    def __init__(self, settings: RuntimeSettings, bundle: ModelBundle) -> None:
        self._settings, self._bundle = settings, bundle
        self._made: dict[str, tuple[Pipeline, Telemetry]] = {}

    def __call__(self, source: FrameSource) -> Pipeline:
        """The pipeline for ``source``. Raises ModelError."""
        if source.name not in self._made:
            telemetry = Telemetry()
            pipeline = Pipeline.from_bundle(self._bundle, self._settings, telemetry=telemetry)
            self._made[source.name] = pipeline, telemetry
        return self._made[source.name][0]

    def statuses(self) -> dict[str, RuntimeStatus]:
        """What was counted and timed so far, by the names of the sources that did open, in the order of the URIs."""
        names = [name for name in source_names(self._settings.source.uris) if name in self._made]
        return {name: self._made[name][1].snapshot() for name in names}


def _run(
    settings: RuntimeSettings, limits: Limits, stop: StopRequest
) -> tuple[Exception | None, Sequence[RuntimeStatus]]:
    several = len(settings.source.uris) > 1
    lost: list[Exception] = []

    def on_lost(error: Exception) -> None:
        lost.append(error)
        if several:
            say(str(error))

    with ExitStack() as stack:
        # All that can be refused comes before the first output is touched, and before a camera keeps one waiting.
        openings = open_sources(settings.source.uris, settings.source, realtime=settings.source.realtime)
        for opening in openings:
            stack.callback(opening.close)
        bundle = stack.enter_context(load_bundle(Path(settings.model.bundle) if settings.model.bundle else None))
        bundle.variant(settings.model.variant)
        equip = Equipment(settings, bundle)
        first, openings = first_to_open(openings, stop.asked, on_lost)
        if first is None:
            return None if stop.asked.is_set() else lost[0], []
        equip(first)
        stats = None
        if settings.output.stats is not None:
            stats = StatsWriter(Path(settings.output.stats))
            stack.callback(stats.close)
        outputs = stack.enter_context(_open_outputs(settings, first.fps, bundle.manifest.labels))
        streams = [Stream(opening, equip) for opening in openings]
        failure = run_streams(streams, outputs, limits, stop, on_lost) or next(iter(lost), None)
        statuses = equip.statuses()
        # What has been told already must not hide that an output could not be finished.
        failure = outputs.finish(None if _told(failure, settings) else failure) or failure
        if stats is not None:
            try:
                stats.write(combined_stats(statuses, by_source=several))
            except OutputError as error:
                failure = error if failure is None or _told(failure, settings) else failure
        if settings.output.events != STANDARD_OUTPUT and (failure is None or _told(failure, settings)):
            sys.stdout.write(_summary(list(statuses.values())))
    return failure, list(statuses.values())


def _told(failure: Exception | None, settings: RuntimeSettings) -> TypeGuard[InputError | SourceLostError]:
    """Whether it was told when it happened: the loss of one source of several, which ended no other."""
    return len(settings.source.uris) > 1 and isinstance(failure, InputError | SourceLostError)


def _open_outputs(settings: RuntimeSettings, source_fps: float, labels: Sequence[str]) -> Outputs:
    output = settings.output
    sinks: list[Sink] = []
    recorders: list[Recorder] = []
    with ExitStack() as opened:  # closes those already open when the next one is refused
        if output.events is not None:
            sinks.append(opened.enter_context(JsonLinesSink(output.events, event_to_json)))
        if output.events != STANDARD_OUTPUT:
            sinks.append(ConsoleSink(sys.stdout))
        if output.trace is not None:
            trace = TraceWriter(Path(output.trace), name_sources=len(settings.source.uris) > 1)
            recorders.append(opened.enter_context(trace))
        if output.annotate is not None:
            fps = min(source_fps, settings.source.max_fps or source_fps)
            video = opened.enter_context(AnnotatedVideo(Path(output.annotate), fps))
            recorders.append(VideoRecorder(video, Annotator(labels)))
        opened.pop_all()
    return Outputs(sinks, recorders)


def _overrides(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    return {
        "source": {
            "uris": tuple(arguments.sources) or None,
            "max_fps": arguments.max_fps,
            "realtime": arguments.realtime or None,
        },
        "model": {"bundle": arguments.bundle, "variant": arguments.variant},
        "output": {
            "events": arguments.events,
            "trace": arguments.trace,
            "stats": arguments.stats,
            "annotate": arguments.annotate,
        },
    }


def _check(settings: RuntimeSettings, config: Path | None) -> None:
    uris = settings.source.uris
    if not uris:
        raise ConfigError(f"no source: name one ({KNOWN_SOURCES}), or set [source] uris in the config")
    if settings.output.annotate is not None and len(uris) > 1:
        raise ConfigError("--annotate takes one source; run the others without it, or each in a run of its own")
    _check_paths(settings, config)


def _check_paths(settings: RuntimeSettings, config: Path | None) -> None:
    """No output may overwrite what the run reads, or another output."""
    taken = _inputs(settings, config)
    for flag in ("events", "trace", "stats", "annotate"):
        target = getattr(settings.output, flag)
        if target is None or (flag == "events" and target == STANDARD_OUTPUT):
            continue
        if target == STANDARD_OUTPUT:
            raise ConfigError(f"--{flag} -: only --events takes - for standard output; name a file")
        path = Path(target)
        same = taken.get(file_identity(path))
        if same is not None:
            raise ConfigError(f"--{flag} {target}: is {same} as well; give each file a name of its own")
        if path.is_file() or not path.exists():  # a device or a pipe may take several outputs
            taken[file_identity(path)] = f"--{flag}"


def _inputs(settings: RuntimeSettings, config: Path | None) -> dict[object, str]:
    """What the run reads, by ``file_identity``, and how each is called in a refusal."""
    bundle = Path(settings.model.bundle) if settings.model.bundle else DEFAULT_BUNDLE
    found = [(path, "a file of the model bundle") for path in (bundle, *_files_in(bundle))]
    if config is not None:
        found.append((config, "the configuration"))
    for uri in settings.source.uris:
        if uri != DEMO_URI:
            found.append((Path(uri), "the source"))
            images = (path for path in _files_in(Path(uri)) if path.suffix.lower() in IMAGE_SUFFIXES)
            found += [(path, f"an image of the source {uri}") for path in images]
    return {file_identity(path): called for path, called in found}


def _files_in(folder: Path) -> list[Path]:
    with suppress(OSError, ValueError):  # no folder, or one that may not be read: opening it tells
        return list(folder.iterdir())
    return []


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
