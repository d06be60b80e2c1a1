"""What a run prints about itself: the status line, its progress, and the summary at its end."""

from __future__ import annotations

import math
import select
import sys
from collections.abc import Sequence
from contextlib import suppress

from fer_edge.frames import Limits
from fer_edge.protocols import FrameSource
from fer_edge.status import DaemonStatus, SourceState
from fer_edge.system.progress import Progress
from fer_edge.types import FrameResult, InterpreterInfo, RuntimeStatus


def status_line(status: DaemonStatus) -> str:
    """Return the state of the sources in one line: ``1 of 2 sources watched; door lost: nothing listens at …``."""
    watched = sum(source.state.delivers for source in status.sources)
    parts = [f"{watched} of {len(status.sources)} {'source' if len(status.sources) == 1 else 'sources'} watched"]
    for source in status.sources:
        if source.state is not SourceState.WATCHING:
            reason = (source.reason or "").removeprefix(f"{source.name}: ")
            parts.append(f"{source.name} {source.state.value}" + (f": {reason}" if reason else ""))
    parts += [f"{sink.name}: {sink.problem}" for sink in status.sinks if not sink.working and sink.problem]
    return "; ".join(parts)


def print_if_read(text: str) -> None:
    """Write ``text`` to standard output, unless that is a full pipe, which would block the program."""
    with suppress(OSError, ValueError):  # not a file of the operating system, as under a test: it cannot be full
        if not select.select([], [sys.stdout], [], 0)[1]:
            return
    sys.stdout.write(text)
    sys.stdout.flush()


class ProgressRecorder:
    """Shows on the terminal how far a file is processed.

    Args:
        source: The file; its attribute ``frame_count`` may be missing, or no plausible number.
        limits: Limits of the frames to process.
    """

    def __init__(self, source: FrameSource, limits: Limits) -> None:
        count = getattr(source, "frame_count", None)
        frames = math.inf if count is None or not count > 0 else float(count)
        if limits.duration_s is not None:
            frames = min(frames, math.ceil(limits.duration_s * source.fps))
        if limits.max_frames is not None and limits.max_fps is None:
            frames = min(frames, limits.max_frames)
        self._progress = Progress(round(frames) if math.isfinite(frames) else None, "frames")

    def record(self, result: FrameResult) -> None:
        """Count the frames up to this one, also those that were skipped."""
        self._progress.show(result.frame.index + 1)

    def close(self) -> None:
        """Remove the bar."""
        self._progress.close()


def run_summary(statuses: Sequence[RuntimeStatus]) -> str:
    """Return counts over all sources, and what ran the classifier, as the lines that end a run."""
    frames, dropped, appeared, events = (
        sum(getattr(status, name) for status in statuses) for name in ("frames", "dropped", "appeared", "events")
    )
    wall_s = max(status.wall_s for status in statuses)
    counts = f"{frames} frames, {dropped} dropped, {faces_seen(appeared)}, {events} events in {wall_s:.1f} s\n"
    return counts + _interpreter_line(statuses[0].interpreter)


def faces_seen(appeared: int) -> str:
    """Return the number of faces that came into view, in words."""
    return f"{appeared} {'face' if appeared == 1 else 'faces'} seen"


def _interpreter_line(info: InterpreterInfo | None) -> str:
    """Return what ran the classifier, which is the same for all sources."""
    if info is None:
        return ""
    taken = f"{info.delegate or 'no delegate'} took {info.delegated_nodes} of {info.nodes} nodes"
    threads = "1 thread" if info.threads == 1 else f"{info.threads} threads"
    return f"{info.name} {info.version}, {threads}" + ("\n" if info.nodes is None else f"; {taken}\n")
