"""A status page with a real pipeline. ``python -m support.web.service`` serves it for a browser."""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.service import WebSettings
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import open_source
from fer_edge.status import ChipStatus, ModelStatus, SinkStatus, SourceState, SourceStatus, StatusBoard
from fer_edge.telemetry import Telemetry
from fer_edge.types import Box, EmotionEvent, EventKind, FrameResult, TrackedEmotion
from fer_edge.web import History, Previews, WebServer, open_web

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


class DemoDaemon:
    """Serve a board that is updated as by the daemon, with one camera ``demo`` in real time."""

    def __init__(
        self,
        settings: WebSettings,
        *,
        privacy: str = "events",
        stale_after_s: float = 30.0,
        zones: Mapping[str, tuple[float, ...]] | None = None,
    ) -> None:
        self._zones = dict(zones or {})
        self.board = StatusBoard(privacy)
        self.history = History(finished_only=privacy == "aggregate")
        self.previews = Previews(LABELS)
        self.web: WebServer = open_web(settings, self.board, self.history, self.previews, stale_after_s=stale_after_s)
        self._stop = threading.Event()
        self._hang = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hang.clear()
        self._stop.set()
        self._thread.join()
        self.web.close()

    def hang(self) -> None:
        """Suspend the processing of frames; the board keeps its state."""
        self._hang.set()

    def _watch(self) -> None:
        bundle = load_bundle()
        manifest = bundle.manifest
        telemetry = Telemetry()
        settings = RuntimeSettings(source=SourceSettings(zones=self._zones))
        pipeline = Pipeline.from_bundle(bundle, settings)
        self.board.set_model(ModelStatus(manifest.name, manifest.version, "int8", manifest.labels))
        self.board.set_chip(ChipStatus(temperature_c=51.4))
        self.board.watch_runtime("demo", telemetry.snapshot)
        self.board.watch_sink(lambda: SinkStatus("console", sent=telemetry.snapshot().events))
        watching = replace(self.board.source("demo"), state=SourceState.WATCHING, zones=tuple(self._zones))
        self.board.update_source(watching)
        self.board.set_ready()
        times: list[float] = []
        with pipeline:
            for result in self._results(pipeline, telemetry):
                while self._hang.is_set():
                    time.sleep(0.05)
                now = time.monotonic()
                times = [*times[-29:], now]
                fps = (len(times) - 1) / (now - times[0]) if len(times) > 1 else 0.0
                size = (result.frame.width, result.frame.height)
                old = self.board.source("demo")
                self.board.update_source(replace(old, size=size, last_frame_at=now, fps=fps, tracks=result.tracks))
                self.history.add("demo", result.tracks, now)
                self.previews.record(result)
                for event in result.events:
                    self.board.tell(event)

    def _results(self, pipeline: Pipeline, telemetry: Telemetry) -> Iterator[FrameResult]:
        """Repeat the demo scene."""
        while not self._stop.is_set():
            yield from pipeline.open(open_source("demo", realtime=True), telemetry=telemetry).results(self._stop)


def lost(name: str, ago_s: float, reason: str, attempts: int) -> SourceStatus:
    """Return a source that was lost ``ago_s`` seconds ago."""
    now = time.monotonic()
    return SourceStatus(
        name, SourceState.LOST, now - ago_s, reason, 2, attempts, (1280, 720), last_frame_at=now - ago_s - 10
    )


def fill_hour(history: History, source: str) -> None:
    """Fill ``history`` with an hour of faces and an outage."""
    now = time.monotonic()
    moods = itertools.cycle(["neutral"] * 5 + ["happy"] * 3 + ["surprise", "sad", "neutral", "uncertain", "angry"])
    mood = "neutral"
    for second in range(-3600, 0):
        minute = -second // 60
        if second % 11 == 0:
            mood = next(moods)
        if 33 <= minute <= 38:
            continue
        faces = [mood] * (1 if minute % 7 < 5 else 0) + ["happy"] * (minute % 3 == 0)
        if second % 60 > 25 + minute % 30:
            faces = faces[:1] if minute % 5 else []
        tracks = [TrackedEmotion(source, number, Box(0, 0, 9, 9), name, 0.8, 0.0) for number, name in enumerate(faces)]
        history.add(source, tracks, now + second)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--token-file")
    parser.add_argument("--preview", action="store_true")
    parser.add_argument("--outage", action="store_true")
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--privacy", default="events")
    arguments = parser.parse_args()
    settings = WebSettings(True, port=arguments.port, token_file=arguments.token_file, preview=arguments.preview)
    with DemoDaemon(settings, privacy=arguments.privacy) as daemon:
        if arguments.hour:
            fill_hour(daemon.history, "demo")
        time.sleep(2)
        if arguments.outage:
            why = "rtsp://door.local/live: no frame for 10 s"
            daemon.board.update_source(lost("door.local", 134, why, 6))
            daemon.board.tell(EmotionEvent(EventKind.SOURCE_LOST, "door.local", time.time() - 134, 0.0, reason=why))
            daemon.board.watch_sink(
                lambda: SinkStatus("mqtt broker.local:1883", False, "Connection refused", 1204, 37, 0)
            )
            daemon.board.set_chip(ChipStatus(81.2, ("frequency_capped",), ("under_voltage", "frequency_capped"), 0.24))
        threading.Event().wait()


if __name__ == "__main__":
    main()
