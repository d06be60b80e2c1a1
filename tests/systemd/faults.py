"""Faults of a running service, and the behaviour that must follow with any settings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from systemd.container import Container
from systemd.unit import EVENTS, Service, ensure

_CORES = ("/", "/tmp", "/var/tmp", "/var/lib/fer-edge", "/var/lib/systemd/coredump")


def ended_by_watchdog(container: Container, service: Service, hang: Callable[[int], None]) -> float:
    """Suspend the main process; return the seconds until a new one is active. Raises CheckFailedError."""
    service.wait_until_watching()
    pid, said, began = service.pid, len(service.journal()), time.monotonic()
    hang(pid)
    service.wait_for_restart(after=pid)
    took_s = time.monotonic() - began
    journal = service.journal()[said:]
    ensure("Watchdog timeout" in journal, "the watchdog did not report it")
    ensure("most recent call first" in journal, "the journal does not show where it hung")
    ensure("status=6/ABRT" in journal and "dumped" not in journal, "not ended as it should be")
    left = container.must("find", *_CORES, "-maxdepth", "1", "-type", "f", "-name", "core*")
    ensure(not left.strip(), f"a core dump was left: {left}")
    service.wait_until_watching()
    return took_s


def started_again(container: Container, service: Service) -> tuple[float, int]:
    """Kill the main process; return the seconds until a new one is active, and the events in the file, all complete."""
    pid, began = service.pid, time.monotonic()
    service.signal("KILL")
    service.wait_for_restart(after=pid)
    took_s = time.monotonic() - began
    lines = container.must("cat", EVENTS).splitlines()
    for line in lines:
        json.loads(line)
    return took_s, len(lines)
