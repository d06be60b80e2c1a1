"""``fer-edge doctor``: run all checks and print a table of the findings."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from fer_edge.doctor.checks import Context, Finding, Verdict, bad, has_access, ok
from fer_edge.doctor.runner import CHECKS, run_checks
from fer_edge.errors import CheckFailedError, ConfigError
from fer_edge.settings.runtime import RuntimeSettings, load_settings
from fer_edge.system.files import write_text_atomically
from fer_edge.system.messages import print_message, printable

_STANDARD_OUTPUT = Path("-")
SERVICE_CONFIG = Path("/etc/fer-edge/config.toml")
"""Checked if no other settings are named."""


def run(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge doctor`` and return 0. Raises CheckFailedError (exit code 1) if a finding is bad."""
    config: Path | None = arguments.config
    if config is None and SERVICE_CONFIG.exists():
        config = SERVICE_CONFIG
    try:
        settings = load_settings(config)
        first = ok("defaults; to check other settings: --settings F" if config is None else str(config))
    except ConfigError as error:
        settings = RuntimeSettings()
        sudo = config is not None and config.exists() and not has_access(config, os.R_OK)
        fix = f"sudo {sys.argv[0]} doctor" if sudo else "correct the settings: fer-edge run --print-config"
        first = bad(str(error), f"{fix}; the other checks used the defaults")
    context = Context(settings, config)
    found = {"settings": first, **run_checks(context, CHECKS, arguments.patience)}
    if arguments.report is not None:
        _write_report(arguments.report, context, found, arguments.patience)
    if arguments.report != _STANDARD_OUTPUT:
        sys.stdout.write(_as_json(found) if arguments.json else _as_table(found))
    failed = [name for name, finding in found.items() if finding.verdict is Verdict.BAD]
    if failed:
        raise CheckFailedError(f"{len(failed)} of {len(found)} checks are bad: {', '.join(failed)}")
    return 0


def _write_report(path: Path, context: Context, found: Mapping[str, Finding], deadline_s: float) -> None:
    from fer_edge.doctor.report import make_report

    text = json.dumps(make_report(context, found, deadline_s), indent=2, ensure_ascii=False) + "\n"
    if path == _STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    write_text_atomically(path, text)
    print_message(f"{path} was written; review it before you share it")


def _as_json(found: Mapping[str, Finding]) -> str:
    checks = [{"name": name, **asdict(finding)} for name, finding in found.items()]
    counts = {verdict.value: sum(entry["verdict"] == verdict for entry in checks) for verdict in Verdict}
    return json.dumps({"checks": checks, "counts": counts}, indent=2) + "\n"


def _as_table(found: Mapping[str, Finding]) -> str:
    """Return one row per check: name, verdict, what was seen; below it the fix, if one is needed."""
    name_width = max(map(len, found))
    verdict_width = max(len(finding.verdict) for finding in found.values())
    indent = " " * (name_width + verdict_width + 4)
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):  # not a terminal: do not wrap lines, for grep
        columns = 10_000
    lines = []
    for name, finding in found.items():
        head = f"{name:<{name_width}}  {finding.verdict:<{verdict_width}}  "
        width = max(columns, len(indent) + 30)
        lines += textwrap.wrap(finding.seen, width, initial_indent=head, subsequent_indent=indent) or [head]
        if finding.fix is not None and finding.verdict in (Verdict.WARN, Verdict.BAD):
            lines.append(f"{indent}-> {finding.fix}")
    return "".join(f"{printable(line)}\n" for line in lines)
