"""Measure `fer-edge run`: time to the first event, memory, and the bytes allocated per frame.

    python benchmarks/footprint.py [--runs N] [--video FILE]

Starts the command N times on a video of 640x480 with a face in the first frame (by default the demo scene), and
measures with tracemalloc what Python and NumPy allocate per frame, including OpenCV's pictures. Internal allocations of
OpenCV, FFmpeg and the interpreter are not counted, but are part of the total memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2

from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import open_source
from fer_edge.sources.demo.source import DemoScene
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.types import Frame

FPS = 15.0
FRAMES, WARM_UP = 300, 30
"""Measured frames, and warm-up frames before them, in which everything is loaded and the face is detected."""
_FACE_AT_S, _SCENE_FRAMES = 4.0, 50
"""Time at which the face of the demo scene is completely in the picture, and number of frames drawn."""
_PACKAGES = (
    *("numpy", "cv2", "ai_edge_litert._pywrap_litert_interpreter_wrapper"),
    "tflite_runtime._pywrap_tensorflow_interpreter_wrapper",
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Start:
    """One run of the command: wall and processor time to the first event in seconds, and the content of ``--stats``."""

    first_event_s: float
    processor_s: float
    stats: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Allocations:
    """Peak bytes allocated while each frame is read and processed; ``kept`` is what remains after all frames."""

    reading: tuple[int, ...]
    processing: tuple[int, ...]
    kept: int


def write_scene(path: Path, frames: int = WARM_UP + FRAMES) -> Path:
    """Write ``frames`` of the demo scene as a video: a part with its face, forward and backward."""
    scene = DemoScene()
    pictures = [scene.render(_FACE_AT_S + index / FPS, index) for index in range(_SCENE_FRAMES)]
    there_and_back = [*pictures, *reversed(pictures)]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), FPS, (640, 480))
    for index in range(frames):
        writer.write(cv2.cvtColor(there_and_back[index % len(there_and_back)], cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def start(video: Path, *arguments: str) -> Start:
    """Run the command on ``video`` with ``arguments`` until it ends. Raises RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        stats = Path(folder) / "stats.json"
        command = [sys.executable, "-m", "fer_edge", "run", str(video), "--events", "-", "--stats", str(stats)]
        began = time.perf_counter()
        with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, env=_environment()) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            took_s, processor_s = time.perf_counter() - began, _processor_s(process.pid)
            process.stdout.read()
        if process.returncode or not first:
            raise RuntimeError(f"{video}: exit code {process.returncode}" + ("" if first else ", and no event"))
        return Start(took_s, processor_s, json.loads(stats.read_text()))


def import_times(video: Path) -> dict[str, float]:
    """Return the import time in ms of each of ``_PACKAGES``, with its own imports, and of ``all`` modules."""
    options = ["-X", "importtime", "-m", "fer_edge", "run", str(video), "--max-frames", "1", "--events", "-"]
    command = [sys.executable, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    found = re.findall(r"^import time: +(\d+) \| +(\d+) \| *(\S+)$", done.stderr, flags=re.MULTILINE)
    times = {name.partition(".")[0]: int(nested) / 1000 for _, nested, name in found if name in _PACKAGES}
    return {**times, "all": sum(int(own) for own, _, _ in found) / 1000}


def count_allocations(video: Path, frames: int = FRAMES) -> Allocations:
    """Return the allocations of ``frames`` of ``video`` after the first ``WARM_UP``, at the default settings."""
    reading, processing = (array("q", bytes(8 * (WARM_UP + frames))) for _ in range(2))  # lists would grow
    held = 0
    with load_bundle(None) as bundle, open_source(str(video), SourceSettings()) as source:
        run = Pipeline.from_bundle(bundle, RuntimeSettings()).open()
        tracemalloc.start()
        try:
            for index in range(WARM_UP + frames):
                if index == WARM_UP:
                    held = _settled()
                frame, reading[index] = _counted(lambda: source.read(0.0))
                assert isinstance(frame, Frame), f"{video}: has only {index} frames"
                _, processing[index] = _counted(partial(run.process, frame))
                del frame, _
            kept = _settled() - held
        finally:
            tracemalloc.stop()
    return Allocations(tuple(reading[WARM_UP:]), tuple(processing[WARM_UP:]), kept)


def _counted(action: Callable[[], T]) -> tuple[T, int]:
    """Return the result of ``action`` and its peak allocation in bytes."""
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    result = action()
    return result, tracemalloc.get_traced_memory()[1] - before


def _processor_s(pid: int) -> float:
    """Return user and system time of a process so far; NaN without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _environment() -> dict[str, str]:
    """Return this process's environment without settings, and with byte code kept, as on a device."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("FER_EDGE_")
    }


def _settled() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main() -> int:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="times that the command is started (10)")
    parser.add_argument("--video", type=Path, metavar="FILE", help="of 330 frames at least")
    arguments = parser.parse_args()
    set_up_opencv()
    with tempfile.TemporaryDirectory() as folder:
        video = arguments.video or write_scene(Path(folder) / "scene.mp4")
        start(video)  # fills the caches
        runs = [start(video) for _ in range(arguments.runs)]
        imports = import_times(video)
        allocations = count_allocations(video)
    told = runs[0].stats["interpreter"]
    seconds = [run.first_event_s for run in runs]
    memory = [run.stats["rss_mb"] for run in runs]
    packages = ", ".join(f"{name} {ms:.0f}" for name, ms in imports.items())
    lines = [
        f"{platform.machine()}, Python {platform.python_version()}, {told['name']} {told['version']}; {len(runs)} runs",
        f"first event  {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}),"
        f" {statistics.median(run.processor_s for run in runs):.2f} s of processor",
        f"memory       {statistics.median(memory):.1f} MiB resident at the end (at most {max(memory):.1f})",
        f"imports      {packages} ms, slowed by being counted",
        "",
        f"{'bytes for each frame':<24}{'median':>10}{'p95':>10}{'most':>10}",
    ]
    for name, counts in (("reading", allocations.reading), ("processing", allocations.processing)):
        p95 = statistics.quantiles(counts, n=20)[-1]
        lines.append(f"{name:<24}{statistics.median(counts):>10.0f}{p95:>10.0f}{max(counts):>10}")
    lines.append(f"kept by all {len(allocations.reading)} frames: {allocations.kept} bytes")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
