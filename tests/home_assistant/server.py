"""A real Home Assistant on loopback, with its MQTT integration connected to a broker, read through its REST API."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from support.processes.waiting import wait_for
from support.servers.loopback import port_of

VARIABLE = "HOME_ASSISTANT"
"""Environment variable with the path of the program ``hass``."""
_CONFIGURATION = """\
homeassistant:
  name: Home
  time_zone: UTC
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
config:
onboarding:
automation: !include automations.yaml
input_boolean:
  greeted:
  told:
logger:
  default: warning
"""


def why_missing() -> str | None:
    """Return why Home Assistant cannot run here; None if it can."""
    named = os.environ.get(VARIABLE)
    if named is None:
        return f"needs Home Assistant: make test-home-assistant, or name its hass in {VARIABLE}"
    return None if Path(named).is_file() else f"{VARIABLE}: {named} is not there"


class HomeAssistant:
    """Home Assistant with its configuration in ``folder``, stopped at the end of the block after ``start``."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        self._folder, self._broker_port = folder, broker_port
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = port_of(free)
        self._token = ""
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "configuration.yaml").write_text(_CONFIGURATION.format(port=self._port))
        (folder / "automations.yaml").touch()

    def start(self) -> None:
        """Start it and wait until it answers. The first time, also create a user and connect it to the broker."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [os.environ[VARIABLE], "-c", str(self._folder), "--skip-pip"], stdout=log, stderr=log
            )
        wait_for(self._answers, 120)
        if not self._token:
            self._onboard()
            flow = self.ask("config/config_entries/flow", {"handler": "mqtt"})
            made = self.ask(
                f"config/config_entries/flow/{flow['flow_id']}", {"broker": "127.0.0.1", "port": self._broker_port}
            )
            assert made["type"] == "create_entry", made

    def stop(self) -> None:
        """Stop it as its service would."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def ask(self, path: str, body: object = None) -> Any:
        """Return the answer of ``/api/<path>``: to GET, or to POST with ``body``."""
        return json.loads(self._request(f"/api/{path}", None if body is None else json.dumps(body).encode()))

    def states(self) -> dict[str, dict[str, Any]]:
        """Return each entity of MQTT by its id: its ``state`` and ``attributes``."""
        return {
            state["entity_id"]: state
            for state in self.ask("states")
            if not state["entity_id"].startswith(("zone.", "person.", "input_boolean.", "sun."))
        }

    def wait_for_state(self, entity: str, wanted: Callable[[str], bool] | str) -> dict[str, Any]:
        """Wait until the state of ``entity`` is as wanted, and return it with its attributes."""
        good = wanted if callable(wanted) else wanted.__eq__
        seen: dict[str, Any] = {}

        def matches() -> bool:
            seen.update(self.states().get(entity, {"state": "missing"}))
            return bool(good(seen["state"]))

        wait_for(matches, 60)
        return seen

    def call(self, service: str, entity: str) -> None:
        """Call a service such as ``switch.turn_off`` for ``entity``."""
        domain, _, name = service.partition(".")
        self.ask(f"services/{domain}/{name}", {"entity_id": entity})

    def template(self, text: str) -> str:
        """Return ``text`` with its templates evaluated."""
        return self._request("/api/template", json.dumps({"template": text}).encode()).decode()

    def log(self) -> str:
        """Return its log."""
        return (self._folder / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            self._request("/api/onboarding", None)
        except urllib.error.HTTPError:
            return True
        except OSError:
            assert self._process is not None and self._process.poll() is None, self.log()[-3000:]
            return False
        return True

    def _onboard(self) -> None:
        client = f"http://127.0.0.1:{self._port}/"
        user = {"client_id": client, "name": "test", "username": "test", "password": "a long one", "language": "en"}
        code = self.ask("onboarding/users", user)["auth_code"]
        form = urllib.parse.urlencode({"grant_type": "authorization_code", "code": code, "client_id": client})
        request = urllib.request.Request(f"{client}auth/token", form.encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            self._token = json.load(answer)["access_token"]

    def _request(self, path: str, body: bytes | None) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


needs_home_assistant = pytest.mark.skipif(why_missing() is not None, reason=str(why_missing()))
