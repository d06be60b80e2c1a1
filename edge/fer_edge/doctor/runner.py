"""All checks, run in threads or subprocesses, so that one that fails, hangs or crashes does not stop the others."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from fer_edge.doctor import cameras, libraries, machine, network, service
from fer_edge.doctor.checks import Check, Context, Finding, Verdict, bad
from fer_edge.settings.base import decode, to_table
from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import RuntimeSettings

CHECKS = (
    Check("python", machine.check_python),
    Check("cpu", machine.check_cpu),
    Check("memory", machine.check_memory),
    Check("cma", machine.check_camera_memory),
    Check("disk", machine.check_disk),
    Check("clock", machine.check_clock, isolated=True),
    Check("temperature", machine.check_temperature, isolated=True),
    Check("throttling", machine.check_throttling, isolated=True),
    Check("opencv", libraries.check_opencv, isolated=True),
    Check("detector", libraries.check_detector, isolated=True),
    Check("model", libraries.check_model, isolated=True),
    Check("inference", libraries.check_inference, isolated=True),
    Check("sources", cameras.check_sources, isolated=True),
    Check("cameras", cameras.check_cameras, isolated=True),
    Check("picamera2", libraries.check_picamera2, isolated=True),
    Check("libcamera", libraries.check_libcamera, isolated=True),
    Check("broker", network.check_broker),
    Check("webhook", network.check_webhook),
    Check("web", network.check_web, isolated=True),
    Check("secrets", service.check_secrets),
    Check("unit", service.check_unit),
)
"""In the order of the output."""

_HANG_FIX = "a device or a library hangs: replug the camera, or restart the device"
_CRASH_FIX = "a native library crashes: use 64-bit Raspberry Pi OS and the package versions in locks/"


def run_checks(context: Context, checks: Sequence[Check], deadline_s: float = 50.0) -> dict[str, Finding]:
    """Run ``checks`` and return their findings by name; one that takes longer than ``deadline_s`` seconds is ``bad``.

    Loading OpenCV from a slow card takes several seconds, and a model that hangs is refused after 30 s.
    """
    found: dict[str, Finding] = {}

    def run(check: Check) -> None:
        found[check.name] = run_check(check, context)

    # In parallel, because most of these wait for the network. Isolated checks run one after another to save memory.
    until = time.monotonic() + deadline_s
    threads = [
        threading.Thread(target=run, args=(check,), name=f"doctor {check.name}", daemon=True)
        for check in checks
        if not check.isolated
    ]
    for thread in threads:
        thread.start()
    found.update(_run_isolated(context, [check.name for check in checks if check.isolated], deadline_s))
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = bad(f"no answer within {deadline_s:g} s")
    return {check.name: found.get(check.name, late) for check in checks}


def run_check(check: Check, context: Context) -> Finding:
    """Run ``check`` and return its finding, without secrets; an exception is a ``bad`` finding."""
    try:
        finding = check.run(context)
    except Exception as error:  # noqa: BLE001 - a failing check must not stop the others
        finding = bad(f"the check itself failed: {type(error).__name__}: {error}", "report this as a bug")
    fix = None if finding.fix is None else redacted(finding.fix)
    return Finding(finding.verdict, redacted(" ".join(finding.seen.split())), fix)


def _run_isolated(context: Context, names: list[str], deadline_s: float) -> dict[str, Finding]:
    """Run the checks ``names`` in one subprocess, and the rest in a new one whenever a check has crashed or hung."""
    found: dict[str, Finding] = {}
    while left := [name for name in names if name not in found]:
        found |= _run_in_subprocess(context, left, deadline_s)
    return found


def _run_in_subprocess(context: Context, names: list[str], deadline_s: float) -> dict[str, Finding]:
    """Run the checks ``names`` in a subprocess, up to the first that crashes or hangs; that one is ``bad``."""
    request = {
        "names": names,
        "settings": to_table(context.settings),
        "root": str(context.root),
        "timeout_s": context.timeout_s,
    }
    found: dict[str, Finding] = {}
    answers = ask("fer_edge.doctor.runner", request, deadline_s)
    for name in names:
        try:
            found[name] = finding_from_json(next(answers))
        except TimeoutError as error:
            return found | {name: bad(str(error), _HANG_FIX)}
        except ExitedError as error:
            return found | {name: bad(f"the check's process {_describe_exit(error.code)}", _CRASH_FIX)}
    return found


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class ExitedError(Exception):
    """A subprocess exited without an answer; ``code`` is its exit code, or the negative number of a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exited with code {code}")
        self.code = code


def ask(module: str, request: Mapping[str, Any], deadline_s: float) -> Iterator[str]:
    """Run ``module``, which calls ``serve``, in a subprocess and yield the lines that it answers to ``request``.

    Raises:
        TimeoutError: No line came within ``deadline_s`` seconds.
        ExitedError: The subprocess exited, and there are no more lines.
    """
    # -P: do not import a numpy.py from the current folder.
    command = [sys.executable, "-P", "-m", module]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    ) as child:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_read_lines, args=(child, lines), name="doctor isolated", daemon=True).start()
        assert child.stdin is not None
        with suppress(OSError), child.stdin as stream:  # it may have exited already; the missing lines report this
            json.dump(request, stream)
        while True:
            try:
                line = lines.get(timeout=deadline_s)
            except queue.Empty:
                child.kill()
                raise TimeoutError(f"no answer within {deadline_s:g} s") from None
            if not line:
                raise ExitedError(child.wait())
            yield line


def _read_lines(child: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    assert child.stdout is not None
    with suppress(ValueError):  # it is closed once the caller has all its answers
        for line in child.stdout:
            lines.put(line)
    lines.put("")


def serve(answer: Callable[[dict[str, Any]], Iterable[str]]) -> NoReturn:
    """In the subprocess of ``ask``, write each line that ``answer`` returns for the request, and exit."""
    output = os.dup(1)
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    for line in answer(json.load(sys.stdin)):
        os.write(output, line.encode())
    # Exit without cleanup: a camera driver may hang in it.
    os._exit(0)


def finding_to_json(finding: Finding) -> str:
    """Return ``finding`` as one line of JSON."""
    return json.dumps(asdict(finding)) + "\n"


def finding_from_json(line: str) -> Finding:
    """Return the finding in a line written by ``finding_to_json``."""
    table = json.loads(line)
    return Finding(Verdict(table["verdict"]), table["seen"], table["fix"])


def _answer(request: dict[str, Any]) -> Iterator[str]:
    settings = decode(RuntimeSettings, request["settings"], "doctor")
    context = Context(settings, root=Path(request["root"]), timeout_s=request["timeout_s"])
    known = {check.name: check for check in CHECKS}
    return (finding_to_json(run_check(known[name], context)) for name in request["names"])


if __name__ == "__main__":
    serve(_answer)
