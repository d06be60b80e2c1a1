"""The live window of ``fer-edge run --show``. It stores nothing."""

from __future__ import annotations

import contextlib
import math
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from fer_edge.errors import InputError, reason_of
from fer_edge.recording.annotate import Annotator, contact_sheet
from fer_edge.recording.window_process import LENGTH_BYTES, READY
from fer_edge.system.closing import Closing
from fer_edge.types import FrameResult, UInt8Array

_MAX_OPENING_S = 20.0
"""Seconds until the window is open; over a network, a display may take some."""
_MIN_INTERVAL_S = 1 / 30
"""Seconds between two pictures; an eye sees no more, and drawing takes time of the pipeline."""
_SCREEN_SHARE = 0.9
"""Maximum share of the screen's width and height that the window takes."""
_MAX_CLOSING_S = 1.0


class LiveWindow(Closing):
    """Show the newest frame of each source, with boxes and labels, in a window.

    A thread draws the pictures and sends them to the window's process, so that ``record`` never waits.

    Args:
        labels: Those of the bundle, which determine the colours.
        on_closed: Called from another thread when the user closes the window, by its button, q or Esc, and when its
            process ends otherwise.

    Raises:
        InputError: If no display is available, or Python lacks tkinter.
    """

    wants_colour = True

    def __init__(self, labels: Sequence[str], on_closed: Callable[[], None]) -> None:
        self._annotator, self._on_closed = Annotator(labels), on_closed
        self._process = _start_process()
        try:
            width, height = _await_window(self._process)
        except InputError:
            self._end_process()
            _close_pipes(self._process)
            raise
        self._max_size = int(width * _SCREEN_SHARE), int(height * _SCREEN_SHARE)
        self._changed = threading.Condition()
        self._newest: dict[str, FrameResult] = {}
        self._fresh = self._closing = False
        self._drawer = threading.Thread(target=self._draw_all, name="window", daemon=True)
        self._drawer.start()
        threading.Thread(target=self._watch, name="window closed", daemon=True).start()

    def record(self, result: FrameResult) -> None:
        """Show ``result`` as the newest of its source."""
        with self._changed:
            self._newest[result.frame.source] = result
            self._fresh = True
            self._changed.notify()

    def close(self) -> None:
        """Close the window. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._end_process()
        self._drawer.join(_MAX_CLOSING_S)
        if not self._drawer.is_alive():
            _close_pipes(self._process)

    def _draw_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._fresh or self._closing)
                if self._closing:
                    return
                results, self._fresh = list(self._newest.values()), False
            began = time.monotonic()
            picture = self._draw(results)
            rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            data = b"P6 %d %d 255\n" % (picture.shape[1], picture.shape[0]) + rgb.tobytes()
            try:
                _write(self._process, len(data).to_bytes(LENGTH_BYTES, "big") + data)
            except (OSError, ValueError):  # closed by the user, or by ``close``
                return
            time.sleep(max(0.0, _MIN_INTERVAL_S - (time.monotonic() - began)))

    def _draw(self, results: Sequence[FrameResult]) -> UInt8Array:
        """Return the pictures, uint8 BGR [H, W, 3], side by side if there are several."""
        drawn = [self._annotator.draw(result) for result in results]
        columns = math.ceil(math.sqrt(len(drawn)))
        tile_width = min(drawn[0].shape[1], self._max_size[0] // columns)
        picture = drawn[0] if len(drawn) == 1 else contact_sheet(drawn, columns, tile_width)
        scale = min(1.0, self._max_size[0] / picture.shape[1], self._max_size[1] / picture.shape[0])
        if scale < 1:
            size = tuple(max(1, round(side * scale)) for side in (picture.shape[1], picture.shape[0]))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        return picture

    def _watch(self) -> None:
        self._process.wait()
        if not self._closing:
            self._on_closed()

    def _end_process(self) -> None:
        # Not by its file object, which would wait for a write that is under way.
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_MAX_CLOSING_S)
            return
        self._process.kill()


def _start_process() -> subprocess.Popen[bytes]:
    try:
        # -P: do not import a tkinter.py from the current folder. Ctrl-C does not reach another session.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "fer_edge.recording.window_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise InputError(f"--show: cannot start the window's process: {reason_of(error)}") from None


def _await_window(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Return the size of the screen, pixels, once the window is open. Raises InputError."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], _MAX_OPENING_S)[0]:
        raise InputError(f"--show: the display does not answer within {_MAX_OPENING_S:.0f} s")
    words = process.stdout.readline().decode(errors="replace").split()
    if words[:1] != [READY]:
        raise InputError(f"--show: {' '.join(words) or 'the process of the window failed to start'}")
    return int(words[1]), int(words[2])


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    """Write all of ``data``, a part at a time. Raises OSError if the window is closed."""
    assert process.stdin is not None
    rest = memoryview(data)
    while rest:
        rest = rest[process.stdin.write(rest) :]
