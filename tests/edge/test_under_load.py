"""The same file gives the same trace under any load of the machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.recording.trace import trace_entry
from fer_edge.settings.runtime import RuntimeSettings
from support.cameras.scenes import demo_frames


@contextlib.contextmanager
def hogs(count: int) -> Iterator[list[int]]:
    """Start processes that only use processor time; yield their ids once all of them do."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        for process in spinning:
            assert process.stdout is not None and process.stdout.readline()
        yield [process.pid for process in spinning]
    finally:
        for process in spinning:
            process.kill()
            process.communicate()


def processor_s(pid: int) -> float:
    """Return the user and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_scene_gives_the_same_trace_beside_processor_hogs() -> None:
    frames = [frame for frame, _ in demo_frames(11.5, 17.0)]

    def trace() -> list[Any]:
        run = Pipeline.from_bundle(load_bundle(None), RuntimeSettings()).open()
        lines: list[Any] = []
        for frame in frames:
            result = run.process(frame)
            lines.append((trace_entry(result), [replace(event, at=0.0) for event in result.events]))
        return [*lines, [replace(event, at=0.0) for event in run.finish(17.0)]]

    alone = trace()
    assert any(entry["tracks"] for entry, _ in alone[:-1])
    with hogs(1 + (os.cpu_count() or 1)) as pids:
        before, own_s = sum(map(processor_s, pids)), time.process_time()
        crowded = trace()
        taken_s, own_s = sum(map(processor_s, pids)) - before, time.process_time() - own_s
    # They used more processor time than the pipeline did.
    assert taken_s > own_s
    assert crowded == alone
