"""``fer-edge demo``: run the pipeline on a drawn face, and write a video with its events, and a contact sheet."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path

from fer_edge.commands.cli import EXIT_INTERRUPTED
from fer_edge.daemon.loop import MainLoop
from fer_edge.daemon.outputs import Outputs
from fer_edge.daemon.signals import StopRequest
from fer_edge.daemon.summary import faces_seen
from fer_edge.images.files import write_image
from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.recording.annotate import Annotator, contact_sheet, fit_picture, with_lines
from fer_edge.recording.video import AnnotatedVideo, video_suffix
from fer_edge.settings.runtime import load_settings
from fer_edge.sinks.console import encode_text_line, event_line
from fer_edge.sinks.line_file import STANDARD_OUTPUT, LineFile
from fer_edge.sinks.queued import DirectSink
from fer_edge.sources import Opening
from fer_edge.sources.demo.emotions_scene import EmotionsScene
from fer_edge.sources.demo.source import DemoSource
from fer_edge.system.files import create_folder
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.telemetry import Telemetry
from fer_edge.types import FrameResult, RuntimeStatus, UInt8Array

CLIP_STEM = "demo"
SHEET_NAME = "contact-sheet.jpg"
_TILES = 12
_TILE_WIDTH = 400
_TILE_HEIGHT = 300
_EVENT_LINES = 4


class DemoRecorder:
    """Draws each result once, for the video and for the evenly spaced tiles of the contact sheet.

    The newest events are written below the picture.
    """

    wants_colour = True

    def __init__(self, video: AnnotatedVideo, annotator: Annotator, frame_count: float) -> None:
        self._video, self._annotator = video, annotator
        # The middle of each twelfth, because the first and the last frame are empty.
        self._chosen = {int((tile + 0.5) * frame_count / _TILES) for tile in range(_TILES)}
        self.tiles: list[UInt8Array] = []
        self._events: deque[str] = deque(maxlen=_EVENT_LINES)

    def record(self, result: FrameResult) -> None:
        """Add one frame."""
        picture = self._annotator.draw(result)
        self._events.extend(event_line(event) for event in result.events)
        self._video.write(with_lines(picture, self._events, _EVENT_LINES), result.frame.captured_at)
        if result.frame.index in self._chosen:
            self.tiles.append(fit_picture(picture, _TILE_WIDTH, _TILE_HEIGHT))

    def close(self) -> None:
        """Finish the video."""
        self._video.close()


def run(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge demo`` and return the exit code. Raises FerEdgeError."""
    model = {"bundle": arguments.bundle, "variant": arguments.variant}
    settings = load_settings(overrides={"model": model})
    set_up_opencv(settings.detector.threads)
    out: Path = arguments.out
    with StopRequest() as stop, ExitStack() as stack:
        bundle = stack.enter_context(load_bundle(settings.model.bundle))
        source = stack.enter_context(DemoSource(settings.source, seconds=arguments.seconds, scene=EmotionsScene()))
        telemetry = Telemetry()
        pipeline = Pipeline.from_bundle(bundle, settings)
        create_folder(out)
        manifest = bundle.manifest
        sys.stdout.write(
            f"Model {manifest.name} {manifest.version} ({settings.model.variant}) on {arguments.seconds:g} s of a drawn"
            " face, whose expression changes.\n"
        )
        sys.stdout.flush()
        clip = out / f"{CLIP_STEM}{video_suffix()}"
        video = stack.enter_context(AnnotatedVideo(clip, source.fps))
        recorder = DemoRecorder(video, Annotator(manifest.labels), source.frame_count)
        began = time.monotonic()
        console = DirectSink(LineFile(STANDARD_OUTPUT), encode_text_line, "console")
        with Outputs([console], [recorder]) as outputs:
            opening = Opening(source.name, source)
            loop = MainLoop([opening], lambda _, opened: pipeline.open(opened, telemetry=telemetry), outputs, stop)
            failure = outputs.finish(loop.run())
            took_s = time.monotonic() - began
        if failure is not None:
            raise failure
        status = telemetry.snapshot()
        if stop.interrupted and status.frames == 0:
            return EXIT_INTERRUPTED
        if recorder.tiles:
            write_image(out / SHEET_NAME, contact_sheet(recorder.tiles, tile_width=_TILE_WIDTH))
    sys.stdout.write(_summary(status, took_s, clip, sheet=bool(recorder.tiles)))
    return 0


def _summary(status: RuntimeStatus, took_s: float, clip: Path, *, sheet: bool) -> str:
    lines = [
        "",
        f"{status.frames} frames, {faces_seen(status.appeared)}, {status.events} events in {took_s:.1f} s:"
        f" {status.frames / max(took_s, 1e-9):.0f} frames per second, including drawing the scene and the video",
    ]
    frame = status.stages.get("frame")
    if frame is not None and status.pipeline_cpu_s > 0:
        per_frame_ms = 1000 * status.pipeline_cpu_s / max(1, status.frames)
        lines.append(
            f"pipeline only: {1000 / max(per_frame_ms, 1e-9):.0f} frames per second on one core"
            f" ({per_frame_ms:.1f} ms each), memory {status.rss_mb:.0f} MiB"
        )
    lines += ["", f"{'stage':<14} {'p50 ms':>8} {'p95 ms':>8} {'calls':>6}"]
    for name, stage in status.stages.items():
        lines.append(f"{name:<14} {stage.p50_ms:>8.2f} {stage.p95_ms:>8.2f} {stage.calls:>6}")
    lines += ["", "Results:", f"  {clip}"]
    if sheet:
        lines.append(f"  {clip.parent / SHEET_NAME}")
    return "\n".join(lines) + "\n"
