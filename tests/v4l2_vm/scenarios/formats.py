"""Faces from a V4L2 camera in each raw format, and from a USB camera in MJPG, with the OpenCV of both lock files.

The environments are those of ``make test-locks``; without them this Python's OpenCV is used. Each runs once for all
formats, because importing OpenCV takes seconds in the machine. The frames must equal the video's, bit for bit, below
the text that the driver draws.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
LOCKS = ("bookworm", "trixie")
MAX_FORMAT_S = 60.0
"""Timeout for one format, from opening to the third frame with a face."""
FRAMES_WITH_FACES = 3
BELOW_TEXT = 160
"""First row below the text that the driver draws into the pictures."""


def main() -> None:
    """Show the video in each format, or in the named ones, to a program of each environment."""
    from v4l2_vm.checks import ensure, seen
    from v4l2_vm.film import FORMATS, HEIGHT, WIDTH
    from v4l2_vm.usb_camera import UsbCamera
    from v4l2_vm.vivid import load_vivid, showing

    (camera,) = load_vivid()
    usb = UsbCamera({"MJPG": [(WIDTH, HEIGHT)]}, fps=5.0)
    usb_device = usb.plug_in()
    for name, python in environments():
        command = [str(python), __file__, "watch"]
        environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT / 'edge'}:{os.environ['PYTHONPATH']}"}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as program:
            assert program.stdin is not None and program.stdout is not None
            seen(f"{name}: {program.stdout.readline().strip()}")
            for fourcc in sys.argv[1:] or (*FORMATS, "MJPG"):
                device = usb_device if fourcc == "MJPG" else camera.device
                with showing(camera, fourcc) if fourcc in FORMATS else contextlib.nullcontext():
                    program.stdin.write(f"{device} {fourcc}\n")
                    program.stdin.flush()
                    line = program.stdout.readline()
                ensure(line, f"{name}, {fourcc}: the program ended")
                found = json.loads(line)
                seen(f"{name}, {fourcc}: {found}")
                ensure(found["faces"] >= FRAMES_WITH_FACES, f"{name}, {fourcc}: faces in {found['faces']} frames")
                ensure(found["of_the_film"] == found["frames"], f"{name}, {fourcc}: frames that are not the film's")
            program.stdin.close()
    usb.pull_out()


def environments() -> Iterator[tuple[str, Path]]:
    """Return the Python interpreters to run, with their names."""
    found = False
    for name in LOCKS:
        python = CHECKOUT / ".venv-locks" / name / "bin" / "python"
        if python.exists():
            found = True
            yield name, python
        else:
            print(f"- {name}: SKIPPED: {python} is not here, make test-locks makes it", flush=True)
    if not found:
        yield "this environment", Path(sys.executable)


def watch() -> None:
    """Look for faces in each device and format named on standard input, and print one line of JSON for each."""
    import cv2
    import numpy

    from fer_edge.model.bundle import load_bundle
    from fer_edge.pipeline import Pipeline
    from fer_edge.settings.runtime import RuntimeSettings
    from fer_edge.settings.source import SourceSettings
    from fer_edge.sources import open_source
    from fer_edge.system.opencv_setup import set_up_opencv
    from fer_edge.types import Frame
    from v4l2_vm.film import WIDTH

    set_up_opencv()
    drawn = sorted(Path(os.environ["FILM"]).glob("*.gray"))
    film = {path.read_bytes()[BELOW_TEXT * WIDTH :] for path in drawn}
    with load_bundle(None) as bundle:
        print(f"OpenCV {cv2.__version__}, NumPy {numpy.__version__}, Python {sys.version.split()[0]}", flush=True)
        for line in sys.stdin:
            device, fourcc = line.split()
            settings = RuntimeSettings(source=SourceSettings(fourcc=fourcc))  # type: ignore[arg-type]
            run = Pipeline.from_bundle(bundle, settings).open()
            frames = faces = of_the_film = 0
            emotions: set[str] = set()
            began = time.monotonic()
            with open_source(device, settings.source) as source:
                while faces < FRAMES_WITH_FACES and time.monotonic() - began < MAX_FORMAT_S:
                    frame = source.read(1.0)
                    if not isinstance(frame, Frame):
                        continue
                    # The driver shows a test pattern until the first frame of the video is there.
                    # MJPG is lossy.
                    known = fourcc == "MJPG" or frame.gray[BELOW_TEXT:].tobytes() in film
                    if frames == 0 and not known:
                        continue
                    frames += 1
                    of_the_film += known
                    tracks = run.process(frame).tracks
                    faces += bool(tracks)
                    emotions |= {track.emotion for track in tracks}
            shape = list(frame.gray.shape) if isinstance(frame, Frame) else None
            found = {"frames": frames, "of_the_film": of_the_film, "faces": faces, "emotions": sorted(emotions)}
            print(json.dumps({**found, "shape": shape, "s": round(time.monotonic() - began, 1)}), flush=True)


if __name__ == "__main__":
    watch() if sys.argv[1:2] == ["watch"] else main()
