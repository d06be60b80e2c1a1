"""Run checks in threads or subprocesses, so that one that fails, hangs or crashes does not stop the others."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict

from fer_edge.doctor.checks import Check, Context, Finding, Verdict, bad
from fer_edge.settings.base import to_table
from fer_edge.settings.redaction import redacted

_HANG_FIX = "a device or a library hangs: replug the camera, or restart the device"
_CRASH_FIX = "a native library crashes: use 64-bit Raspberry Pi OS and the package versions in locks/"


def run_checks(context: Context, checks: Sequence[Check], deadline_s: float = 30.0) -> list[tuple[Check, Finding]]:
    """Run ``checks`` and return their findings in the same order.

    Args:
        context: Passed to each check.
        checks: The checks to run.
        deadline_s: A check that takes longer is ``bad``. Loading OpenCV from a slow card takes several seconds.
    """
    answers: queue.SimpleQueue[tuple[str, Finding]] = queue.SimpleQueue()

    def run(check: Check) -> None:
        answers.put((check.name, run_check(check, context)))

    # In parallel, because most of these wait for the network. Isolated checks run one after another to save memory.
    began = time.monotonic()
    threaded = [check for check in checks if not check.isolated]
    for check in threaded:
        threading.Thread(target=run, args=(check,), name=f"doctor {check.name}", daemon=True).start()
    found = _run_isolated(context, [check for check in checks if check.isolated], deadline_s)
    missing = {check.name for check in threaded}
    while missing:
        try:
            name, finding = answers.get(timeout=max(0.0, began + deadline_s - time.monotonic()))
        except queue.Empty:
            break
        found[name] = finding
        missing.discard(name)
    late = bad(f"no answer within {deadline_s:g} s")
    return [(check, found.get(check.name, late)) for check in checks]


def run_check(check: Check, context: Context) -> Finding:
    """Run ``check`` and return its finding, without secrets; an exception is a ``bad`` finding."""
    try:
        finding = check.run(context)
    except Exception as error:  # noqa: BLE001 - a failing check must not stop the others
        finding = bad(f"the check itself failed: {type(error).__name__}: {error}", "report this as a bug")
    fix = None if finding.fix is None else redacted(finding.fix)
    return Finding(finding.verdict, redacted(" ".join(finding.seen.split())), fix)


def _run_isolated(context: Context, checks: Sequence[Check], deadline_s: float) -> dict[str, Finding]:
    """Run ``checks`` in one subprocess, and the rest in a new one whenever a check has crashed or hung."""
    found: dict[str, Finding] = {}
    left = [check.name for check in checks]
    while left:
        found |= _run_in_subprocess(context, left, deadline_s)
        left = [name for name in left if name not in found]
    return found


def _run_in_subprocess(context: Context, names: Sequence[str], deadline_s: float) -> dict[str, Finding]:
    """Run the checks ``names`` in a subprocess, up to the first that crashes or hangs; that one is ``bad``."""
    request = {
        "names": list(names),
        "settings": to_table(context.settings),
        "root": str(context.root),
        "timeout_s": context.timeout_s,
    }
    found: dict[str, Finding] = {}
    # -P: do not import a numpy.py from the current folder.
    command = [sys.executable, "-P", "-m", "fer_edge.doctor.isolated"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    ) as child:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_read_lines, args=(child, lines), name="doctor isolated", daemon=True).start()
        assert child.stdin is not None
        try:
            with child.stdin as stream:
                json.dump(request, stream)
        except OSError:
            pass  # it has exited already; the missing lines report this
        for name in names:
            try:
                line = lines.get(timeout=deadline_s)
            except queue.Empty:
                child.kill()
                return found | {name: bad(f"no answer within {deadline_s:g} s", _HANG_FIX)}
            if not line:
                return found | {name: bad(f"the check's process {_describe_exit(child.wait())}", _CRASH_FIX)}
            found[name] = finding_from_json(line)
    return found


def _read_lines(child: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line)
    lines.put("")


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def finding_to_json(finding: Finding) -> str:
    """Return ``finding`` as one line of JSON."""
    return json.dumps(asdict(finding)) + "\n"


def finding_from_json(line: str) -> Finding:
    """Return the finding in a line written by ``finding_to_json``."""
    table = json.loads(line)
    return Finding(Verdict(table["verdict"]), table["seen"], table["fix"])


def redirect_stdout() -> int:
    """Redirect standard output to standard error, and return a file descriptor of the original one.

    Findings are written to it, so that output of libraries does not mix with them.
    """
    original = os.dup(1)
    os.dup2(2, 1)
    return original
