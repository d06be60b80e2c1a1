"""Runs checks so that one that fails, hangs or crashes stops no other: in threads, or in a process apart."""

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

from fer_edge.doctor.checks import Case, Check, Finding, Verdict, broken
from fer_edge.settings import strict_toml
from fer_edge.settings.redaction import redacted


def examine(case: Case, checks: Sequence[Check], deadline_s: float = 30.0) -> list[tuple[Check, Finding]]:
    """What each of ``checks`` found, in their order; one that takes longer than ``deadline_s`` is bad.

    Loading OpenCV from a slow card takes several seconds.
    """
    answers: queue.SimpleQueue[tuple[str, Finding]] = queue.SimpleQueue()

    def look(check: Check) -> None:
        answers.put((check.name, look_at(check, case)))

    # All at once: most of them wait for others. Those apart go one after another, since each needs memory.
    began = time.monotonic()
    together = [check for check in checks if not check.apart]
    for check in together:
        threading.Thread(target=look, args=(check,), name=f"doctor {check.name}", daemon=True).start()
    found = _examine_apart(case, [check for check in checks if check.apart], deadline_s)
    missing = {check.name for check in together}
    while missing:
        try:
            name, finding = answers.get(timeout=max(0.0, began + deadline_s - time.monotonic()))
        except queue.Empty:
            break
        found[name] = finding
        missing.discard(name)
    late = broken(f"no answer within {deadline_s:g} s")
    return [(check, found.get(check.name, late)) for check in checks]


def look_at(check: Check, case: Case) -> Finding:
    """What ``check`` finds; that it failed, where it raises."""
    try:
        finding = check.look(case)
    except Exception as error:  # noqa: BLE001 - whatever one check runs into, the others go on
        finding = broken(f"the check itself failed: {type(error).__name__}: {error}", "report this as a defect")
    mend = None if finding.mend is None else redacted(finding.mend)
    return Finding(finding.verdict, redacted(" ".join(finding.seen.split())), mend)


def _examine_apart(case: Case, checks: Sequence[Check], deadline_s: float) -> dict[str, Finding]:
    """What they found, in as few processes as it takes: a new one when a check has brought one down."""
    found: dict[str, Finding] = {}
    left = [check.name for check in checks]
    while left:
        found |= _in_child(case, left, deadline_s)
        left = [name for name in left if name not in found]
    return found


def _in_child(case: Case, names: Sequence[str], deadline_s: float) -> dict[str, Finding]:
    """What a process finds that is given ``names``, in their order; the one that ends it is told of as bad."""
    order = {
        "names": list(names),
        "settings": strict_toml.to_table(case.settings),
        "root": str(case.root),
        "patience_s": case.patience_s,
    }
    found: dict[str, Finding] = {}
    # -P: a folder that happens to hold a numpy.py is not what is examined.
    command = [sys.executable, "-P", "-m", "fer_edge.doctor.apart"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    ) as child:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_pass_on, args=(child, lines), name="doctor apart", daemon=True).start()
        assert child.stdin is not None
        try:
            with child.stdin as stream:
                json.dump(order, stream)
        except OSError:
            pass  # it is gone already, which the missing lines tell
        for name in names:
            try:
                line = lines.get(timeout=deadline_s)
            except queue.Empty:
                child.kill()
                return found | {name: broken(f"no answer within {deadline_s:g} s", _HANGS)}
            if not line:
                return found | {name: broken(f"the check's process {_ended(child.wait())}", _CRASHES)}
            found[name] = finding_from(line)
    return found


_HANGS = "a device or a library hangs: unplug and plug the camera, or restart the machine"
_CRASHES = "a native library does not run here: 64-bit Raspberry Pi OS, and the versions of the project's locks"


def _pass_on(child: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line)
    lines.put("")


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def finding_as_line(finding: Finding) -> str:
    """One line of JSON."""
    return json.dumps(asdict(finding)) + "\n"


def finding_from(line: str) -> Finding:
    """The finding that ``finding_as_line`` wrote."""
    table = json.loads(line)
    return Finding(Verdict(table["verdict"]), table["seen"], table["mend"])


def keep_for_findings() -> int:
    """A descriptor of standard output for findings alone: what libraries print goes to standard error from now on."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept
