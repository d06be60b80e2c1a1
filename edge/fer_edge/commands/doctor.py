"""``fer-edge doctor``: run all checks and print a table of the findings."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fer_edge.doctor.all_checks import CHECKS
from fer_edge.doctor.checks import Check, Context, Finding, Verdict, bad, ok
from fer_edge.doctor.runner import run_checks
from fer_edge.errors import CheckFailedError, ConfigError
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.system.messages import print_message, printable

_STANDARD_OUTPUT = Path("-")
_SERVICE_CONFIG = Path("/etc/fer-edge/config.toml")
_SETTINGS = Check("settings", lambda context: ok("read"))


def run(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge doctor`` and return 0. Raises CheckFailedError (exit code 1) if a finding is bad."""
    problem = None
    try:
        settings = load_settings(arguments.config)
    except ConfigError as error:
        settings, problem = RuntimeSettings(), str(error)
    found = run_checks(Context(settings, arguments.config), CHECKS, arguments.patience)
    if problem is not None:
        first = bad(problem, "correct the settings: fer-edge run --print-config; the other checks used the defaults")
    else:
        first = ok(str(arguments.config or f"defaults; to check other settings: --config {_usual_config()}"))
    found.insert(0, (_SETTINGS, first))
    if arguments.report is not None:
        _write_report(arguments.report, Context(settings, arguments.config), found, arguments.patience)
    if arguments.report != _STANDARD_OUTPUT:
        sys.stdout.write(_as_json(found) if arguments.json else _as_table(found))
    failed = [check.name for check, finding in found if finding.verdict is Verdict.BAD]
    if failed:
        raise CheckFailedError(f"{len(failed)} of {len(found)} checks are bad: {', '.join(failed)}")
    return 0


def _write_report(path: Path, context: Context, found: Sequence[tuple[Check, Finding]], deadline_s: float) -> None:
    from fer_edge.doctor.report import make_report
    from fer_edge.system.files import atomic_path

    text = json.dumps(make_report(context, found, deadline_s), indent=2, ensure_ascii=False) + "\n"
    if path == _STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print_message(f"{path} was written; review it before you share it")


def _usual_config() -> str:
    """Return the path of the service's settings if they exist, else a placeholder."""
    return str(_SERVICE_CONFIG) if _SERVICE_CONFIG.exists() else "F"


def _as_json(found: Sequence[tuple[Check, Finding]]) -> str:
    checks = [{"name": check.name, **asdict(finding)} for check, finding in found]
    counts = {verdict.value: sum(entry["verdict"] == verdict for entry in checks) for verdict in Verdict}
    return json.dumps({"checks": checks, "counts": counts}, indent=2) + "\n"


def _as_table(found: Sequence[tuple[Check, Finding]]) -> str:
    """Return one row per check: name, verdict, what was seen; below it the fix, if one is needed."""
    name_width = max(len(check.name) for check, _ in found)
    verdict_width = max(len(finding.verdict) for _, finding in found)
    indent = " " * (name_width + verdict_width + 4)
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):  # not a terminal: do not wrap lines, for grep
        columns = 10_000
    lines = []
    for check, finding in found:
        head = f"{check.name:<{name_width}}  {finding.verdict:<{verdict_width}}  "
        width = max(columns, len(indent) + 30)
        lines += textwrap.wrap(finding.seen, width, initial_indent=head, subsequent_indent=indent) or [head]
        if finding.fix is not None and finding.verdict in (Verdict.WARN, Verdict.BAD):
            lines.append(f"{indent}-> {finding.fix}")
    return "".join(f"{printable(line)}\n" for line in lines)
