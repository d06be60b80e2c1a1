"""Read the frames to process from a source, within limits of time, number and rate."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from fer_edge.protocols import FrameSource, NoFrame
from fer_edge.system.timing import SteadyClock
from fer_edge.types import Frame

_POLL_S = 0.2
"""Seconds to wait for a frame before checking the limits and ``stop`` again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the frames to process; None means no limit.

    ``duration_s`` and ``max_fps`` refer to the source's clock: media time for a file, real time for a camera.
    """

    duration_s: float | None = None
    max_frames: int | None = None
    max_fps: float | None = None


def frames_within(limits: Limits, source: FrameSource, stop: threading.Event) -> Iterator[Frame]:
    """Yield the frames to process until the source ends, a limit is reached or ``stop`` is set.

    Raises:
        InputError: If a file is damaged.
        SourceLostError: If a camera was lost.
    """
    duration_s = math.inf if limits.duration_s is None else limits.duration_s
    max_frames = math.inf if limits.max_frames is None else limits.max_frames
    began = time.monotonic()
    clock, first_at = SteadyClock(), math.nan
    taken, last_slot = 0, -1
    while taken < max_frames and not stop.is_set():
        frame = source.read(_POLL_S)
        if frame is NoFrame.ENDED:
            return
        if not isinstance(frame, Frame):
            if time.monotonic() - began >= duration_s:  # without frames, a camera has no clock
                return
            continue
        at = clock.advance(frame.captured_at)
        first_at = at if math.isnan(first_at) else first_at
        elapsed_s = at - first_at
        if elapsed_s >= duration_s:
            return
        if limits.max_fps is not None:
            # One frame per slot of 1 / max_fps. The small term prevents rounding from skipping every other frame.
            slot = math.floor(elapsed_s * limits.max_fps + 1e-6)
            if slot <= last_slot:
                continue
            last_slot = slot
        taken += 1
        yield frame
