"""Compare the processor time of ``fer-edge run`` with OpenCV and with PyAV as decoder.

    make bench-decoders [ARGS='--rounds 7 --seconds 20']

Both run in turns on the same film or stream. The result is the processor time of the whole process per
frame, without the start, which is measured by a run of one frame. A ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np

from fer_edge.sources.demo.source import DEMO_FPS, SCENE_S, DemoScene
from support.cameras import rtsp_server
from support.cameras.mjpeg_server import mjpeg_server
from support.processes.edge_command import clean_environment

_DECODERS = ("opencv", "pyav")
_FILMS = {
    # name: codec, pixel format, options, width, height
    "MJPEG, 640x480": ("mjpeg", "yuvj422p", {"qscale": "4"}, 640, 480),
    "H.264, 640x480": ("libx264", "yuv420p", {"preset": "veryfast"}, 640, 480),
    "H.264, 1280x720": ("libx264", "yuv420p", {"preset": "veryfast"}, 1280, 720),
}


def write_film(path: Path, name: str) -> Path:
    """Write the demo scene in grey, with colours that do not move, scaled to the film's size."""
    codec, pixel_format, options, width, height = _FILMS[name]
    scene = DemoScene()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=round(DEMO_FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for index in range(round(SCENE_S * DEMO_FPS)):
            gray = cv2.resize(scene.render(index / DEMO_FPS, index), (width, height))
            bgr = np.ascontiguousarray(np.dstack([gray, gray, gray]))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(bgr, format="bgr24")))
        container.mux(stream.encode())
    return path


@contextmanager
def sources(folder: Path) -> Iterator[dict[str, tuple[str, bool]]]:
    """Yield the URI of each film and stream by its name, and whether it has no end."""
    films = {name: (str(write_film(folder / f"{number}.mkv", name)), False) for number, name in enumerate(_FILMS)}
    with mjpeg_server() as camera:
        streams = {"MJPEG over HTTP, 640x480, 10 a second": (camera.url("stream"), True)}
        if rtsp_server.why_missing() is not None:
            sys.stderr.write(f"RTSP is left out: {rtsp_server.why_missing()}\n")
            yield films | streams
            return
        with rtsp_server.rtsp_server() as (_, port):
            yield films | streams | {"H.264 over RTSP, 320x240, 30 a second": (f"rtsp://127.0.0.1:{port}/live", True)}


def run(uri: str, decoder: str, *limit: str) -> tuple[int, float]:
    """Return the number of frames, and the processor time in seconds, of one run."""
    with tempfile.TemporaryDirectory() as folder:
        stats = Path(folder) / "stats.json"
        line = [sys.executable, "-m", "fer_edge", "run", uri, "--stats", str(stats), *limit]
        environment = {**clean_environment(), "FER_EDGE_SOURCE_DECODER": decoder}
        subprocess.run(line, check=True, env=environment, stdout=subprocess.DEVNULL)
        found = json.loads(stats.read_text())
    return found["frames"], found["cpu_s"]


def measure(uri: str, rounds: int, limits: tuple[str, ...]) -> tuple[dict[str, float], float]:
    """Return the milliseconds for a frame of each decoder, and the median ratio of PyAV to OpenCV."""
    costs: dict[str, list[float]] = {decoder: [] for decoder in _DECODERS}
    for _ in range(rounds):
        for decoder in _DECODERS:
            _, start_s = run(uri, decoder, "--max-frames", "1")
            frames, cpu_s = run(uri, decoder, *limits)
            costs[decoder].append(1000 * (cpu_s - start_s) / (frames - 1))
    ratio = statistics.median(pyav / opencv for opencv, pyav in zip(costs["opencv"], costs["pyav"], strict=True))
    return {decoder: statistics.median(values) for decoder, values in costs.items()}, ratio


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="decoder_costs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="pairs of runs of each (7)")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="duration of a run on a stream (20)")
    arguments = parser.parse_args()
    lines = ["| source | OpenCV | PyAV | ratio |", "| --- | ---: | ---: | ---: |"]
    with tempfile.TemporaryDirectory() as folder, sources(Path(folder)) as found:
        for name, (uri, endless) in found.items():
            limits = ("--duration", str(arguments.seconds)) if endless else ()
            costs, ratio = measure(uri, arguments.rounds, limits)
            lines.append(f"| {name} | {costs['opencv']:.2f} ms | {costs['pyav']:.2f} ms | {ratio:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
