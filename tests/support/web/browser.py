"""Headless Chromium, driven by Debian's chromedriver over the W3C WebDriver protocol: plain HTTP, no library."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fer_edge.errors import FerEdgeError


def browser_is_missing() -> str | None:
    """Return why no browser can run here; None if one can."""
    absent = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    return f"{' and '.join(absent)} is not installed: apt-get install chromium-driver" if absent else None


def _started_driver(folder: Path, max_tries: int = 5) -> tuple[subprocess.Popen[str], int]:
    """Return a running chromedriver and its port.

    With ``--port=0`` it takes a free port of IPv6, and exits where another process has that port on IPv4.
    """
    said = ""
    for _ in range(max_tries):
        driver = subprocess.Popen(
            ["chromedriver", "--port=0", "--log-level=SEVERE"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
        )
        assert driver.stdout is not None
        for line in driver.stdout:
            if found := re.search(r"successfully on port ([0-9]+)", line):
                return driver, int(found[1])
            said += line
        driver.wait(20)
    raise AssertionError(f"chromedriver exited {max_tries} times before it listened:\n{said}")


class Browser:
    """Open one window; close it and end both programs at the end of the block."""

    def __init__(self, folder: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        self._folder, self._dark = folder, dark
        self._size = width, height

    def __enter__(self) -> Self:
        self._driver, port = _started_driver(self._folder)
        self._base = f"http://127.0.0.1:{port}"
        width, height = self._size
        options = {
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                f"--user-data-dir={self._folder / 'profile'}",
                f"--window-size={width},{height}",
            ]
        }
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        found = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{found['sessionId']}"
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[scheme])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._ask("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait(20)

    def open(self, url: str) -> None:
        """Go to ``url``, and wait until it is loaded."""
        self._ask("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Return the result of ``script``, the body of a function."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": arguments})

    def run_async(self, script: str) -> Any:
        """Return the value that ``script``, the body of a function, passes to its last argument, a function."""
        return self._ask("POST", f"{self._session}/execute/async", {"script": script, "args": []})

    def text(self, selector: str) -> str:
        """Return the visible text of the first match of ``selector``; empty if it has no match."""
        script = "const e = document.querySelector(arguments[0]); return e?.checkVisibility() ? e.innerText : ''"
        return str(self.run(script, selector))

    def keys(self, selector: str, text: str) -> None:
        """Type ``text`` into the first match of ``selector``; U+E007 is Enter, U+E004 Tab."""
        found = self._ask("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        element = next(iter(found.values()))
        self._ask("POST", f"{self._session}/element/{element}/value", {"text": text})

    def press_tab(self) -> None:
        """Press the tabulator key, wherever the focus is."""
        keys = [{"type": kind, "value": "\ue004"} for kind in ("keyDown", "keyUp")]
        actions = [{"type": "key", "id": "keyboard", "actions": keys}]
        self._ask("POST", f"{self._session}/actions", {"actions": actions})

    def console(self) -> list[str]:
        """Return the console's messages since the last call: errors, and loads that a policy blocked."""
        return [entry["message"] for entry in self._ask("POST", f"{self._session}/se/log", {"type": "browser"})]

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write the visible part, or the ``whole`` page, as PNG."""
        found = self._devtools("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def wait(self, what: str, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until ``condition`` is true; fail with ``what`` after a timeout."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}; page: {self.text('body')}"
            time.sleep(0.1)

    def _devtools(self, command: str, **parameters: object) -> Any:
        return self._ask("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _ask(self, method: str, path: str, content: object = None) -> Any:
        data = None if method == "GET" else json.dumps(content or {}).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise FerEdgeError(f"{method} {path}: {error.read().decode()[:500]}") from None
