"""Run inside the root: checks of the picamera2 source that need its classes, each a function without arguments."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import picamera2
from sensors import SENSORS

from fer_edge.errors import InputError, SourceLostError
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import open_source
from fer_edge.sources.picamera import source as source_module
from fer_edge.sources.picamera.source import Picamera2Source
from fer_edge.types import Frame

CAMERA = "picamera2:Virtual0"


def frames_of(source: Any, count: int) -> list[Frame]:
    """Return the next ``count`` frames."""
    frames: list[Frame] = []
    until = time.monotonic() + 30
    while len(frames) < count and time.monotonic() < until:
        if isinstance(frame := source.read(5.0), Frame):
            frames.append(frame)
    assert len(frames) == count, f"{len(frames)} frames"
    return frames


def look() -> None:
    """Check two pictures of the source: the test pattern's bars, from white to black, and their times."""
    with open_source("picamera2", SourceSettings(width=640, height=480, fps=30, ev=1.0)) as source:
        frames = frames_of(source, 2)
        assert all(0 <= time.monotonic() - frame.captured_at < 2 for frame in frames)
    for frame in frames:
        assert frame.gray.shape == (480, 640)
        assert frame.gray.flags.owndata and frame.gray.flags.c_contiguous
        bars = frame.gray[240, 40::80]
        assert bars[0] == 235 and bars[-1] == 16 and (bars[:-1] > bars[1:]).all(), bars
    assert frames[0].captured_at < frames[1].captured_at
    print("two pictures of the test pattern")


def hang() -> None:
    """Check that a camera whose stop blocks, as after an unplug, does not block the source or the process."""
    picamera2.Picamera2.stop = lambda self: time.sleep(3600)
    source = open_source("picamera2", SourceSettings())
    frames_of(source, 1)
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 10
    for uri in ("picamera2", CAMERA):  # its frames would go to the camera that does not stop
        try:
            open_source(uri, SourceSettings())
        except SourceLostError as error:
            assert "did not stop" in str(error), error
        else:
            raise AssertionError("a camera that did not stop was opened again")
    print("a camera whose stop blocks is abandoned, and not opened again")


def modes() -> None:
    """Check each sensor's mode, streams and rate, chosen by picamera2's own code from the drivers' tables."""
    from as_sensor import configured, pretend

    for name, mode, bits, size, fps in (
        ("imx219", (1640, 1232), 10, (640, 480), 30.0),
        ("imx708", (2304, 1296), 10, (640, 360), 30.0),
        ("ov5647", (640, 480), 10, (640, 480), 30.0),
        ("imx477", (2028, 1520), 12, (640, 480), 30.0),
        ("imx296", (1456, 1088), 10, (640, 478), 30.0),
        ("ov9281", (640, 400), 10, (640, 400), 30.0),
    ):
        _check_mode(pretend, configured, name, SourceSettings(), (mode, bits, size, fps))
    for asked, expected in (
        ({"fps": 60.0}, ((1640, 1232), 10, (640, 480), 41.85)),
        ({"fps": 10.0}, ((1640, 1232), 10, (640, 480), 10.0)),
        ({"sensor_mode": "3280x2464"}, ((3280, 2464), 10, (640, 480), 21.19)),
        ({"sensor_mode": "640x480", "fps": 90.0}, ((640, 480), 10, (640, 480), 90.0)),
        ({"sensor_mode": "auto"}, ((640, 480), 10, (640, 480), 30.0)),
    ):
        _check_mode(pretend, configured, "imx219", SourceSettings(**asked), expected)
    try:
        open_source(CAMERA, SourceSettings(sensor_mode="1000x1000"))
    except InputError as error:
        assert "it has 640x480, 1640x1232, 1920x1080, 3280x2464" in str(error), error
    else:
        raise AssertionError("a mode that the sensor does not have was taken")
    print("the sensor modes of six sensors, five settings, and one line for an unknown mode")


def _check_mode(pretend: Any, configured: list[Any], name: str, settings: SourceSettings, expected: Any) -> None:
    pretend(name)
    source_module._modes_of.clear()  # it is the same camera for libcamera
    mode, bits, size, fps = expected
    with Picamera2Source(picamera2, "Virtual0", settings, "camera") as source:
        got_mode, got_bits, streams = configured[-1]
        assert (got_mode, got_bits) == (mode, bits), (name, settings.sensor_mode, configured[-1])
        # Two small streams and no raw one, here and while the modes were read.
        assert streams == [("NV12", size)] * 2, (name, streams)
        assert all(len(earlier) == 1 for _, _, earlier in configured[:-1]), configured
        assert abs(source.fps - fps) < 0.01 * fps, (name, source.fps)
        known = 0 if settings.sensor_mode == "auto" else len(SENSORS[name].modes)
        assert len(configured) == known + 1, (name, len(configured))
        # For `doctor --report`.
        assert (source.mode and source.mode.size, len(source.modes)) == (mode if known else None, known), name


def rate() -> None:
    """Check that the reported rate is the camera's, whatever was requested."""
    for asked, told in ((None, 30.0), (60.0, 60.0), (200.0, 60.0), (5.0, 30.0)):  # the virtual camera supports 30 to 60
        with open_source(CAMERA, SourceSettings(fps=asked)) as source:
            frames_of(source, 1)
            assert abs(source.fps - told) < 0.1, (asked, source.fps)
    print("the reported frame rate is within the camera's limits")


def leak() -> None:
    """Check that 10,000 failed openings leak no descriptors, threads or memory, and that the camera then works."""
    logging.getLogger("picamera2").setLevel(logging.CRITICAL)
    logging.getLogger("picamera2.picamera2").setLevel(logging.CRITICAL)
    times = int(os.environ.get("FAILED_OPENINGS", "10000"))
    holder = picamera2.Picamera2(0)  # as if another program used it: acquire fails
    holders = dict(picamera2.Picamera2._cm.cameras)

    def busy() -> None:
        try:
            Picamera2Source(picamera2, 0, SourceSettings(), "busy")
        except SourceLostError as error:
            assert "cannot be opened" in str(error) and "did not complete" not in str(error), error
        else:
            raise AssertionError("a camera in use was opened")

    def absent() -> None:
        with suppress(SourceLostError):
            Picamera2Source(picamera2, 7, SourceSettings(), "absent")
            raise AssertionError("a camera that is not there was opened")

    def unknown() -> None:
        with suppress(SourceLostError):
            Picamera2Source(picamera2, "/base/soc/imx219@10", SourceSettings(), "unknown")
            raise AssertionError("a camera that is not there was opened")

    for attempt in (busy, absent, unknown):
        for _ in range(times // 5):
            attempt()
        before = _held()
        for _ in range(times):
            attempt()
        after = _held()
        assert after[:2] == before[:2], (attempt.__name__, before, after)
        # Python allocates memory by the MiB; a leaked Picamera2 would be 10 KiB, 100 MiB in total.
        assert after[2] - before[2] < 2048, (attempt.__name__, before, after)
        print(
            f"{times} failed openings ({attempt.__name__}): {after[0]} descriptors and {after[1]} threads, unchanged,"
            f" {after[2] - before[2]:+d} KiB"
        )
    picamera2.Picamera2._cm.cameras.update(holders)
    holder.close()
    with open_source(CAMERA, SourceSettings()) as source:
        frames_of(source, 2)
    print("then it opens and gives pictures")


def _held() -> tuple[int, int, int]:
    """Return descriptors, threads, and resident KiB that are not shared with a file."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), int(status["RssAnon"].split()[0])


def main(part: str) -> None:
    """Run the check named ``part``."""
    {"look": look, "hang": hang, "modes": modes, "rate": rate, "leak": leak}[part]()


if __name__ == "__main__":
    main(sys.argv[1])
