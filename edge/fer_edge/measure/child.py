"""A child process that answers questions with lines of JSON, within a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fer_edge.errors import ModelError
from fer_edge.system.closing import Closing

T = TypeVar("T")


class Child(Closing):
    """One child process; a context manager that ends it and all processes that it started. ``close`` is idempotent."""

    def __init__(self, name: str, command: Sequence[str], timeout_s: float, *, timeout_hint: str = "") -> None:
        """Start ``command``. Each answer may take ``timeout_s``; error messages begin with ``name``. Raises OSError.

        ``timeout_hint`` is added to the message about an exceeded time limit.
        """
        self._name = name
        self._program = command[0]
        self._timeout_s = timeout_s
        self._timeout_hint = timeout_hint
        self._timed_out = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (close() closes it)
        try:
            # In a new session, so that the processes that it starts can be ended with it, and Ctrl-C reaches only the
            # parent.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
            )
        except OSError:
            self._errors.close()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, data: bytes) -> dict[str, Any]:
        """Send ``data`` and return the next answer. Raises ModelError if there is none in time."""
        assert self._process.stdin is not None and self._process.stdout is not None
        alarm = threading.Timer(self._timeout_s, self._time_out)
        alarm.daemon = True
        alarm.start()
        try:
            with contextlib.suppress(OSError):  # the process has ended, and will not answer
                self._process.stdin.write(data)
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            raise ModelError(f"{self._name}: its process {self._what_happened()}")
        answer = self.understand(lambda: json.loads(line))
        if not isinstance(answer, dict):
            raise self._invalid()
        return answer

    def understand(self, parse: Callable[[], T]) -> T:
        """Return the result of ``parse``. Raises ModelError if it refuses the answer."""
        try:
            return parse()
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            raise self._invalid() from None

    def kill(self) -> None:
        """Kill the process and those that it started; a thread that waits for an answer then gets the error."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the process, which holds nothing that could be lost."""
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(OSError):  # unread data of a process that has ended
                    stream.close()

    def ended(self, code: int, last_words: str) -> str:
        """Describe how the process ended; ``last_words`` is the last line of its stderr, or empty."""
        if code < 0:
            name = signal.Signals(-code).name
            return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return f"ended with exit code {code}: {last_words or 'without a message'}"

    def _invalid(self) -> ModelError:
        return ModelError(f"{self._name}: {self._program} gives an invalid answer")

    def _time_out(self) -> None:
        self._timed_out = True
        self.kill()

    def _what_happened(self) -> str:
        if self._timed_out:
            return f"did not answer within {self._timeout_s:g} s{self._timeout_hint}"
        try:
            code = self._process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            return "closed its output"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines() or [""]
        return self.ended(code, lines[-1][:300])
