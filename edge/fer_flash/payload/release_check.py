"""A program for the device: ``install.sh`` runs it to decide whether to keep a new release.

    python -m fer_flash.payload.release_check [SETTINGS]

Prints the checks of ``fer-edge doctor`` as a table. If a check that depends on the release failed, prints one line on
standard error and exits with 1. Other failed checks concern the environment, such as a camera that is not plugged in or
a broker that is down; another release would not help.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

OF_THE_RELEASE = frozenset({"settings", "python", "cpu", "opencv", "model", "inference", "picamera2", "secrets"})
"""Checks of ``fer-edge doctor`` that depend only on the release and its settings. ``picamera2`` checks that it can be
imported in the release's environment; ``libcamera`` and ``cameras`` check for a camera."""
_PATIENCE_S = 300
"""Timeout for one check. At a first boot, the check reads files that were just unpacked while the rest of the system
starts, so a slow answer does not mean a bad release."""


def main() -> int:
    """Run ``fer-edge doctor`` in this environment; return the exit code."""
    settings = [f"--config={sys.argv[1]}"] if sys.argv[1:] else []
    command = [sys.executable, "-m", "fer_edge", "doctor", "--json", f"--patience={_PATIENCE_S}", *settings]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        checks = json.loads(asked.stdout)["checks"]
    except ValueError:
        said = asked.stderr.strip().splitlines() or [f"exit {asked.returncode}"]
        sys.stderr.write(f"doctor gives no result: {said[-1]}\n")
        return 1
    table = "".join(f"    {check['name']:12} {check['verdict']:8} {check['seen']}\n" for check in checks)
    try:
        sys.stdout.write(table)
        sys.stdout.flush()
    except OSError:  # standard output is closed; without this, the interpreter would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    bad = [check for check in checks if check["verdict"] == "bad" and check["name"] in OF_THE_RELEASE]
    if bad:
        sys.stderr.write("doctor: " + "; ".join(f"{check['name']}: {check['seen']}" for check in bad) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
