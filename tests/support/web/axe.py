"""axe-core, which finds accessibility faults, installed by npm and run in the page of a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.web.browser import Browser

_PACKAGE = "axe-core@4.14.1"
_REQUIRED = "REQUIRE_AXE"
"""Set by ``.ci/run``: there, a missing axe is a failure and not a reason to skip."""


def install_axe(folder: Path) -> str:
    """Install axe-core into ``folder`` and return its script. Skips the test if npm is missing or fails.

    npm keeps packages in its own cache, so only the first run on a machine needs the network.
    """
    if shutil.which("npm") is None:
        _without("npm is not installed: apt-get install nodejs npm")
    command = ["npm", "install", "--prefix", str(folder), "--prefer-offline", "--ignore-scripts", "--no-audit"]
    try:
        done = subprocess.run(
            [*command, "--no-fund", _PACKAGE], capture_output=True, text=True, check=False, timeout=120
        )
    except subprocess.TimeoutExpired:
        _without(f"npm install {_PACKAGE} took more than 120 s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[0]
        _without(f"npm install {_PACKAGE} failed: {last}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def faults(browser: Browser, script: str) -> list[str]:
    """Return one line for each fault on the page, including those that axe leaves to a person.

    Of these, contrast is left out: axe cannot determine the background of text in an SVG or in a scrolled table.
    ``test_web_colours`` computes the contrast of all colours.
    """
    browser.run(script)
    found: dict[str, Any] = browser.run_async(
        "const done = arguments[arguments.length - 1];"
        "axe.run({ resultTypes: ['violations', 'incomplete'] }).then(done);"
    )
    assert found["passes"], "axe checked nothing"
    unsure = [rule for rule in found["incomplete"] if rule["id"] != "color-contrast"]
    return [
        f"{rule['id']}: {node['html'][:160]}: {node['failureSummary']}"
        for rule in found["violations"] + unsure
        for node in rule["nodes"]
    ]


def _without(reason: str) -> None:
    if os.environ.get(_REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)
