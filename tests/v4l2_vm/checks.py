"""Helpers for the scenarios: run fer-edge in the machine, wait for events, print observations."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_S = 240.0
"""Timeout of each wait: everything is ten to twenty times slower in the machine."""


def seen(what: str) -> None:
    """Print a line of the scenario's report, with the seconds since the machine started."""
    print(f"- {what} [{time.monotonic():.0f} s]", flush=True)


def ensure(condition: object, problem: str) -> None:
    """Raise SystemExit with ``problem`` unless ``condition`` holds."""
    if not condition:
        raise SystemExit(f"failed: {problem}")


def wait_for(look: Callable[[], T | None], what: str, within_s: float = PATIENCE_S) -> T:
    """Return the first true result of ``look``. Raises SystemExit after a timeout."""
    until = time.monotonic() + within_s
    while not (found := look()):
        ensure(time.monotonic() < until, f"waited {within_s:.0f} s for {what}")
        time.sleep(0.2)
    return found


class Watching:
    """A running ``fer-edge run`` with its events in a file."""

    def __init__(self, process: subprocess.Popen[bytes], events: Path, log: Path) -> None:
        self.process = process
        self._events = events
        self._log = log

    def events(self) -> list[dict[str, Any]]:
        """Return all events so far."""
        if not self._events.exists():
            return []
        return [json.loads(line) for line in self._events.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def log(self) -> str:
        """Return what it printed."""
        return self._log.read_text()

    def wait_for_event(self, kind: str, after: int = 0, source: str | None = None) -> int:
        """Wait for an event of ``kind`` and return its number, from 1; ``after`` is the number of an earlier event."""

        def look() -> int | None:
            ensure(self.process.poll() is None, f"fer-edge ended: {self.process.returncode}: {self.log()}")
            for number, event in enumerate(self.events()[after:], after + 1):
                if event["kind"] == kind and source in (None, event["source"]):
                    return number
            return None

        try:
            return wait_for(look, f"{kind} from {source or 'any source'}")
        except SystemExit:
            print(self.log(), *self.events()[-5:], sep="\n", flush=True)
            raise


@contextlib.contextmanager
def watching(*arguments: str, settings: str = "", name: str = "run") -> Iterator[Watching]:
    """Run ``fer-edge run ARGUMENTS`` during the block with ``settings`` (TOML), then interrupt it like Ctrl-C."""
    out = Path(os.environ["OUT"])
    config, events, log = (Path(f"/tmp/{name}.{end}") for end in ("toml", "jsonl", "log"))
    config.write_text(settings)
    command: Sequence[str] = ["fer-edge", "run", *arguments, "--config", str(config), "--events", str(events)]
    command = [*command, "--stats", str(out / f"{name}-stats.json")]
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        try:
            yield Watching(process, events, log)
        finally:
            if process.poll() is None:
                process.send_signal(2)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(60)
            if process.poll() is None:
                process.kill()
