"""Deploy to many hosts at once: one ``fer-edge deploy`` process for each, some of them at a time.

A process for each host keeps their failures apart, and Ctrl-C ends each as it ends a deployment to one host.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import IO

from fer_edge.errors import FerEdgeError
from fer_edge.system.messages import aligned, print_message
from fer_flash.meter import duration, print_line

INSTALLED, CURRENT, REMOVED, CHECKED = "installed", "up to date", "removed", "checked"
_ENDINGS = (INSTALLED, CURRENT, REMOVED)
"""The last line of a deployment to one host that succeeded, after the host."""
_ROUTINE = re.compile(r" +\w+ +(ok|skipped) ")
"""Lines of doctor's table that are not printed for each of many hosts."""
_FAILED, _INTERRUPTED, _NOT_STARTED = "failed", "interrupted", "not started"
_AGAIN = "run this again"
_MIXED = 1
"""Exit code if hosts failed for reasons with different exit codes."""


@dataclass(frozen=True, slots=True)
class Result:
    """The deployment to one host.

    Attributes:
        host: the host.
        result: what happened, in one or two words.
        code: exit code, 0 for a success.
        seconds: duration.
        advice: what to do.
    """

    host: str
    result: str
    code: int = 0
    seconds: float = 0.0
    advice: str = ""


class Rollout:
    """Deployments to ``hosts``. ``command(host)`` is the command line for one.

    After ``max_failures`` failures no further ones are started; those in progress are completed.
    """

    def __init__(self, hosts: Sequence[str], command: Callable[[str], list[str]], *, max_failures: int) -> None:
        self._hosts, self._command, self._max_failures = hosts, command, max_failures
        self._lock = threading.Lock()
        self._waiting = deque(hosts)
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._results: dict[str, Result] = {}
        self._stopping = False

    def run(self, jobs: int) -> int:
        """Deploy to ``jobs`` hosts at a time, print a table at the end, also after Ctrl-C, and return the exit code."""
        workers: list[Future[None]] = []
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for _ in range(min(jobs, len(self._hosts))):
                    workers.append(pool.submit(self._work))
                wait(workers, return_when=FIRST_EXCEPTION)
                for worker in workers:
                    worker.result()
            except Exception:
                self._end(workers)
                raise
            except BaseException as error:  # Ctrl-C or SIGTERM
                self._end(workers)
                self._print_table()
                error.args = (self._summary(),)
                raise
        self._print_table()
        codes = {result.code for result in self._results.values()} - {0}
        if not codes:
            return 0
        print_message(self._summary())
        return codes.pop() if len(codes) == 1 else _MIXED

    def _work(self) -> None:
        while True:
            with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
                started = time.monotonic()
                with self._lock:
                    if self._stopping or self._full() or not self._waiting:
                        return
                    host = self._waiting.popleft()
                    process = self._running[host] = _start(self._command(host), complaints)
                with process:
                    ending = self._follow(host, process)
                complaints.seek(0)
                code = process.returncode
                self._finish(host, code, ending, time.monotonic() - started, complaints.read().splitlines())

    def _follow(self, host: str, process: subprocess.Popen[str]) -> str:
        """Print the output of a process, and return its result."""
        ending = CHECKED
        for line in process.stdout or ():
            text = line.rstrip("\n").removeprefix(f"{host}: ")
            if text in _ENDINGS:
                ending = text
            elif not _ROUTINE.match(text):
                self._print(f"{host}: {text}")
        return ending

    def _finish(self, host: str, code: int, ending: str, seconds: float, complaints: Sequence[str]) -> None:
        said = [line.removeprefix("fer-edge: ") for line in complaints if line.startswith("fer-edge: ")]
        said = [line.removeprefix(f"{host}: ") for line in said if line != _INTERRUPTED]
        advice = "; ".join(said) or (_AGAIN if code else "")
        if code < 0:
            code, advice = FerEdgeError.exit_code, f"its process ended by signal {-code}: {_AGAIN}"
        with self._lock:
            self._running.pop(host)
            result = ending if code == 0 else _INTERRUPTED if self._stopping else _FAILED
            self._results[host] = Result(host, result, code, seconds, advice)
            done, failures, full = len(self._results), self._failures(), self._full() and bool(self._waiting)
        others = [line for line in complaints if not line.startswith("fer-edge: ")]  # such as a traceback of --debug
        for line in others if result == _FAILED else ():
            self._print(f"{host}: {line}")
        reason = f": {advice}" if advice else ""
        self._print(f"[{done}/{len(self._hosts)}] {host}: {result} after {duration(seconds)}{reason}")
        if full and result == _FAILED:
            self._print(f"{failures} failed: no other host is started (--max-failures {self._max_failures})")

    def _print(self, line: str) -> None:
        with self._lock:
            print_line(line)

    def _failures(self) -> int:
        return sum(result.result == _FAILED for result in self._results.values())

    def _full(self) -> bool:
        return self._failures() >= self._max_failures

    def _end(self, workers: Sequence[Future[None]]) -> None:
        """Interrupt the deployments in progress and wait for them; kill them if this is interrupted too."""
        try:
            for process in self._stop():
                if sys.platform != "win32":  # there, Ctrl-C has reached every process
                    process.send_signal(signal.SIGINT)
            wait(workers)
        except BaseException:  # noqa: BLE001 - another Ctrl-C; the caller raises the first one again
            for process in self._stop():
                process.kill()
            wait(workers)

    def _stop(self) -> list[subprocess.Popen[str]]:
        """Start no other deployment, and return those in progress."""
        with self._lock:
            self._stopping = True
            return list(self._running.values())

    def _print_table(self) -> None:
        rows = [("host", "result", "seconds", "what to do")]
        for host in self._hosts:
            result = self._results.get(host, Result(host, _NOT_STARTED, advice=_AGAIN))
            spent = f"{result.seconds:.0f}" if host in self._results else "-"
            rows.append((host, result.result, spent, result.advice))
        for line in ("", *aligned(rows)):
            print_line(line)

    def _summary(self) -> str:
        good = sum(result.code == 0 for result in self._results.values())
        parts = [f"{good} of {len(self._hosts)} hosts done"]
        for word in (_FAILED, _INTERRUPTED):
            if number := sum(result.result == word for result in self._results.values()):
                parts.append(f"{number} {word}")
        if left := len(self._hosts) - len(self._results):
            parts.append(f"{left} not started")
        return f"{', '.join(parts)}; {_AGAIN} to continue"


def _start(command: list[str], complaints: IO[str]) -> subprocess.Popen[str]:
    # In another session, Ctrl-C in the terminal reaches it only through _end, and ssh has no terminal to ask in.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
