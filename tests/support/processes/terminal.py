"""A process whose standard streams are a pseudo-terminal of the test."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support.processes.edge_command import clean_environment


class Terminal:
    """Run ``command`` in a terminal of ``size`` rows and columns.

    ``settings`` are more variables of its environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        settings: Mapping[str, str] | None = None,
        size: tuple[int, int] = (24, 80),
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        # A new session with this controlling terminal: Ctrl-C comes from it, and getpass reads from it.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=cwd,
            env={**clean_environment(), "HOME": str(cwd), "TERM": "xterm", **(settings or {})},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.said = ""

    def answer(self, question: str, answer: str) -> None:
        """Wait for ``question`` and type ``answer``."""
        self.read_until(lambda text: re.search(question, text) is not None)
        self.said = ""
        self.type(answer + "\n")

    def type(self, text: str) -> None:
        """Type ``text``."""
        os.write(self._ours, text.encode())

    def read_until(self, is_there: Callable[[str], object], within_s: float = 60.0) -> None:
        """Read until ``is_there`` is true for the output since the last answer."""
        until = time.monotonic() + within_s
        while not is_there(self.said):
            assert time.monotonic() < until, self.said
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self._ours, 4096).decode(errors="replace")
                except OSError:  # it has ended
                    assert is_there(self.said), self.said

    def end(self) -> int:
        """Return its exit code."""
        until = time.monotonic() + 60
        while True:  # read while waiting: a full terminal would block the process
            ended = self.process.poll() is not None
            if select.select([self._ours], [], [], 0 if ended else 0.1)[0]:
                try:
                    self.said += os.read(self._ours, 4096).decode(errors="replace")
                except OSError:
                    break
            elif ended:
                break
            assert time.monotonic() < until, self.said
        os.close(self._ours)
        return self.process.wait(timeout=60)
