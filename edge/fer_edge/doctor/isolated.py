"""The subprocess that runs the checks that load native code; see ``runner``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fer_edge.doctor.all_checks import CHECKS
from fer_edge.doctor.checks import Context
from fer_edge.doctor.runner import finding_to_json, redirect_stdout, run_check
from fer_edge.settings.base import decode
from fer_edge.settings.runtime import RuntimeSettings


def main() -> None:
    """Read the names of checks and their context from standard input, and write each finding to standard output."""
    output = redirect_stdout()
    request = json.load(sys.stdin)
    settings = decode(RuntimeSettings, request["settings"], "doctor")
    context = Context(settings, root=Path(request["root"]), timeout_s=request["timeout_s"])
    known = {check.name: check for check in CHECKS}
    for name in request["names"]:
        os.write(output, finding_to_json(run_check(known[name], context)).encode())
    # Exit without cleanup: a camera driver that a check has loaded may hang in it.
    os._exit(0)


if __name__ == "__main__":
    main()
