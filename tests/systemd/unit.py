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
"""Settings with the camera that ``camera.py`` is."""


@dataclass(frozen=True, slots=True)
class Service:
    """``fer-edge.service`` in ``container``."""

    container: Container

    def ask(self, name: str) -> str:
        """A property, in systemd's words."""
        return self.container.must("systemctl", "show", UNIT, "--value", f"--property={name}").strip()

    @property
    def pid(self) -> int:
        """Of its main process, 0 where there is none; as the container counts."""
        return int(self.ask("MainPID"))

    @property
    def restarts(self) -> int:
        """How often systemd started it again since somebody started it."""
        return int(self.ask("NRestarts"))

    def journal(self) -> str:
        """All that it and systemd said of it."""
        return self.container.must("journalctl", f"--unit={UNIT}", "--no-pager", "--output=cat")

    def configure(self, text: str) -> None:
        """Write its settings, in place: owner and permissions stay."""
        self.container.write(CONFIG, text)

    def start_with(self, text: str) -> float:
        """Start it afresh with these settings; gives back how long systemctl waited for it."""
        self.configure(text)
        self.container.must("systemctl", "reset-failed", UNIT)
        began = time.monotonic()
        self.container.must("systemctl", "restart", UNIT)
        return time.monotonic() - began

    def wait_for(self, name: str, value: str) -> None:
        """Until a property is so."""
        wait_for(lambda: self.ask(name) == value, f"{name}={value} of the service")

    def signal(self, name: str) -> None:
        """Send the main process a signal."""
        self.container.must("systemctl", "kill", "--kill-whom=main", f"--signal={name}", UNIT)

    def wait_until_watching(self) -> None:
        """Until frames come."""
        self.wait_for_status("1 of 1 source watched")

    def wait_for_status(self, part: str) -> str:
        """Its STATUS as soon as that holds ``part``."""

        def told() -> str | None:
            text = self.ask("StatusText")
            return text if part in text else None

        return wait_for(told, f"STATUS with {part!r}")

    def wait_for_line(self, part: str) -> None:
        """Until the journal holds ``part``."""
        wait_for(lambda: part in self.journal(), f"{part!r} in the journal")

    def wait_for_restart(self, after: int) -> int:
        """The new process, once systemd has started it in place of the one with the number ``after``."""

        def other() -> int | None:
            pid = self.pid
            return pid if pid not in (0, after) and self.ask("ActiveState") == "active" else None

        return wait_for(other, f"a process in place of {after}")

    def assert_stays(self, name: str, value: str, seconds: float) -> None:
        """A property is so, all the time. Raises CheckFailedError."""
        until = time.monotonic() + min(seconds, PATIENCE_S)
        while time.monotonic() < until:
            if (found := self.ask(name)) != value:
                raise CheckFailedError(f"{name} became {found}, not to stay {value}")
            time.sleep(0.2)


def ensure(condition: object, problem: str) -> None:
    """Raises CheckFailedError with ``problem`` where ``condition`` does not hold."""
    if not condition:
        raise CheckFailedError(problem)
