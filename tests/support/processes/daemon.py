"""``fer-edge run`` as a service: its process, its sd_notify messages, and its events."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.processes.edge_command import clean_environment, command_line, lines_of

PATIENCE_S = 60.0
"""Time limit for things that should take seconds: machines are busy."""


@dataclass
class Daemon:
    """A running daemon in ``folder``, with its configuration ``c.toml`` and its events ``events.jsonl``."""

    folder: Path
    process: subprocess.Popen[str]
    notified: list[str] = field(default_factory=list)

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the events written so far, of these kinds or of all."""
        path = self.folder / "events.jsonl"
        lines = lines_of(path) if path.exists() else []
        return [line for line in lines if not kinds or line["kind"] in kinds]

    def wait_for(self, what: Callable[[], object], *, running: bool = True) -> None:
        """Wait until ``what`` is true; the daemon must not end before, unless that is permitted."""
        until = time.monotonic() + PATIENCE_S
        while not what():
            assert not running or self.process.poll() is None, f"ended: {self.errors()}"
            assert time.monotonic() < until, (self.notified[-5:], self.events()[-5:], self.errors())
            time.sleep(0.02)

    def wait_for_events(self, count: int, *kinds: str) -> list[dict[str, Any]]:
        """Wait for the first ``count`` events of these kinds, and return them."""
        self.wait_for(lambda: len(self.events(*kinds)) >= count)
        return self.events(*kinds)[:count]

    def count(self, message: str) -> int:
        """Return how many messages to the service manager begin with ``message``."""
        return sum(told.startswith(message) for told in self.notified)

    @property
    def last_status(self) -> str:
        """The last status line that it gave the service manager, without the watchdog's messages after it."""
        return next((told for told in reversed(self.notified) if told.startswith("STATUS=")), "")

    def errors(self) -> str:
        """Return its standard error so far."""
        return (self.folder / "stderr").read_text()

    def stop(self) -> int:
        """Stop it as systemd does; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def running_daemon(
    folder: Path, config: str, *, environment: Mapping[str, str] | None = None, watchdog_s: float = 60.0
) -> Iterator[Daemon]:
    """Run ``fer-edge run --config`` with ``config`` as its file; kill it at the end of the block if it still runs."""
    (folder / "c.toml").write_text(config)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, (folder / "stderr").open("w") as errors:
        (folder / "notify").unlink(missing_ok=True)
        listener.bind(str(folder / "notify"))
        process = subprocess.Popen(
            command_line("run", "--config", "c.toml"),
            cwd=folder,
            env={
                **clean_environment(),
                "NOTIFY_SOCKET": str(folder / "notify"),
                "WATCHDOG_USEC": str(round(watchdog_s * 1e6)),
                **(environment or {}),
            },
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
        )
        daemon = Daemon(folder, process)
        over = threading.Event()
        reader = threading.Thread(target=_read, args=(listener, daemon.notified, over))
        reader.start()
        try:
            yield daemon
        finally:
            process.kill()
            process.wait()
            over.set()
            reader.join()


def _read(listener: socket.socket, notified: list[str], over: threading.Event) -> None:
    """Read messages until ``over`` is set and none is left, since some may still be in the socket."""
    listener.settimeout(0.05)
    while True:
        try:
            notified.extend(listener.recv(4096).decode().splitlines())
        except TimeoutError:
            if over.is_set():
                return
