"""A program for the device: what ``install.sh`` goes by when it decides whether a release stays.

    python -m fer_flash.payload.release_check [SETTINGS]

Prints what ``fer-edge doctor`` found as a table. Where a check that tells of the release is bad, says so in one line on
standard error, and ends with 1. What else may be bad is the state of the world around, which no other release mends:
a camera that is not plugged in yet, a broker that is away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

OF_THE_RELEASE = frozenset({"settings", "python", "cpu", "opencv", "model", "inference", "picamera2", "secrets"})
"""Checks of ``fer-edge doctor`` that depend on the release and its settings alone. ``picamera2`` is whether it loads in
the release's environment; whether a camera is plugged in is ``libcamera`` and ``cameras``."""
_PATIENCE_S = 300
"""For one check: it reads what was unpacked a minute ago, beside all that comes up at a first boot. A release that is
slow to answer then is no bad one."""


def main() -> int:
    """Ask ``fer-edge doctor`` of this environment; returns the exit code."""
    settings = [f"--config={sys.argv[1]}"] if sys.argv[1:] else []
    command = [sys.executable, "-m", "fer_edge", "doctor", "--json", f"--patience={_PATIENCE_S}", *settings]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        checks = json.loads(asked.stdout)["checks"]
    except ValueError:
        said = asked.stderr.strip().splitlines() or [f"exit {asked.returncode}"]
        sys.stderr.write(f"doctor gives no answer: {said[-1]}\n")
        return 1
    table = "".join(f"    {check['name']:12} {check['verdict']:8} {check['seen']}\n" for check in checks)
    try:
        sys.stdout.write(table)
        sys.stdout.flush()
    except OSError:  # nobody is there to read it; else the interpreter would say so at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    bad = [check for check in checks if check["verdict"] == "bad" and check["name"] in OF_THE_RELEASE]
    if bad:
        sys.stderr.write("doctor: " + "; ".join(f"{check['name']}: {check['seen']}" for check in bad) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
