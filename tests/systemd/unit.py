"""The service in a container: its state according to systemd, and its settings."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fer_edge.errors import CheckFailedError
from systemd.container import ENVIRONMENT, PATIENCE_S, Container, wait_for

UNIT = "fer-edge.service"
PROGRAM = f"{ENVIRONMENT}/bin/fer-edge"
CONFIG = "/etc/fer-edge/config.toml"
EVENTS = "/var/lib/fer-edge/events.jsonl"
CAMERA, CAMERA_PORT = "camera.service", 8090
WATCHING = f"""\
[source]
uris = ["http://127.0.0.1:{CAMERA_PORT}/"]
timeout_s = 2.0
[recovery]
reconnect = true
retry_min_s = 0.2
retry_max_s = 0.5
"""
"""Settings with the camera of ``camera.py``."""


@dataclass(frozen=True, slots=True)
class Service:
    """``fer-edge.service`` in ``container``."""

    container: Container

    def ask(self, name: str) -> str:
        """Return a property of the unit, as systemd prints it."""
        return self.container.must("systemctl", "show", UNIT, "--value", f"--property={name}").strip()

    @property
    def pid(self) -> int:
        """The id of its main process in the container; 0 if it has none."""
        return int(self.ask("MainPID"))

    @property
    def restarts(self) -> int:
        """Number of restarts by systemd since the last manual start."""
        return int(self.ask("NRestarts"))

    def journal(self) -> str:
        """Return everything that the service and systemd logged about it."""
        return self.container.must("journalctl", f"--unit={UNIT}", "--no-pager", "--output=cat")

    def configure(self, text: str) -> None:
        """Write its settings in place: owner and permissions are kept."""
        self.container.write(CONFIG, text)

    def start_with(self, text: str) -> float:
        """Restart it with these settings; return how long systemctl waited."""
        self.configure(text)
        self.container.must("systemctl", "reset-failed", UNIT)
        began = time.monotonic()
        self.container.must("systemctl", "restart", UNIT)
        return time.monotonic() - began

    def wait_for(self, name: str, value: str) -> None:
        """Wait until a property has this value."""
        wait_for(lambda: self.ask(name) == value, f"{name}={value} of the service")

    def signal(self, name: str) -> None:
        """Send a signal to the main process."""
        self.container.must("systemctl", "kill", "--kill-whom=main", f"--signal={name}", UNIT)

    def wait_until_watching(self) -> None:
        """Wait until frames are processed."""
        self.wait_for_status("1 of 1 source watched")

    def wait_for_status(self, part: str) -> str:
        """Return its STATUS once it contains ``part``."""

        def told() -> str | None:
            text = self.ask("StatusText")
            return text if part in text else None

        return wait_for(told, f"STATUS with {part!r}")

    def wait_for_line(self, part: str) -> None:
        """Wait until the journal contains ``part``."""
        wait_for(lambda: part in self.journal(), f"{part!r} in the journal")

    def wait_for_restart(self, after: int) -> int:
        """Wait until systemd has replaced the process ``after``, and return the id of the new one."""

        def other() -> int | None:
            pid = self.pid
            return pid if pid not in (0, after) and self.ask("ActiveState") == "active" else None

        return wait_for(other, f"a process that replaces {after}")

    def assert_stays(self, name: str, value: str, seconds: float) -> None:
        """Check that a property keeps this value for some seconds. Raises CheckFailedError."""
        until = time.monotonic() + min(seconds, PATIENCE_S)
        while time.monotonic() < until:
            if (found := self.ask(name)) != value:
                raise CheckFailedError(f"{name} became {found}, not to stay {value}")
            time.sleep(0.2)


def ensure(condition: object, problem: str) -> None:
    """Raise CheckFailedError with ``problem`` unless ``condition`` holds."""
    if not condition:
        raise CheckFailedError(problem)
