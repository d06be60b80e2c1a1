"""The process in which checks run that load native code; see ``examine``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fer_edge.doctor.all_checks import CHECKS
from fer_edge.doctor.checks import Case
from fer_edge.doctor.examine import finding_as_line, keep_for_findings, look_at
from fer_edge.settings import strict_toml
from fer_edge.settings.runtime import RuntimeSettings


def main() -> None:
    """Read an order from standard input, and write each finding as soon as there is one."""
    output = keep_for_findings()
    order = json.load(sys.stdin)
    settings = strict_toml.parse(RuntimeSettings, order["settings"], "doctor")
    case = Case(settings, root=Path(order["root"]), patience_s=order["patience_s"])
    known = {check.name: check for check in CHECKS}
    for name in order["names"]:
        os.write(output, finding_as_line(look_at(known[name], case)).encode())
    # At once: what the checks have loaded, cameras among it, may hang on its way down.
    os._exit(0)


if __name__ == "__main__":
    main()
