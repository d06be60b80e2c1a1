"""Another machine, reached by the system's own ``ssh`` (OpenSSH), with the user's keys, agent and ``~/.ssh/config``.

Whether the other machine is the one it says to be is ssh's to check, and is never turned off here.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from fer_edge.errors import InputError, OutputError

_FAILED = 255
"""What ssh ends with when it was ssh that failed, and no program on the other side; see ssh(1)."""
_OPTIONS = {
    "LogLevel": "ERROR",  # no banners among what is read as the reason
    "ConnectTimeout": "15",
    "ServerAliveInterval": "10",  # a line that is dead is noticed after half a minute
    "ServerAliveCountMax": "3",
}
_UNKNOWN_KEY = "its host key is not known here: compare its fingerprint by `ssh {host}` in a terminal, then try again"
_CHANGED_KEY = (
    "its host key is not the one that is known here: the system there is new, or somebody sits between; if you know"
    " why: ssh-keygen -R {host}"
)
_REASONS = (  # the first that is in ssh's complaint counts
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", _CHANGED_KEY),
    ("Host key verification failed", _UNKNOWN_KEY),
    ("Could not resolve hostname", "no such host: is it switched on, and in this network?"),
    ("Permission denied", "it lets nobody in with these keys: ssh-copy-id {host}, or give --identity"),
    ("Connection refused", "no SSH there: connection refused"),
    ("timed out", "no answer: is it switched on, and in this network?"),
    ("No route to host", "no way there: is it switched on, and in this network?"),
)


@dataclass(frozen=True, slots=True)
class Address:
    """Who is asked for, as ssh takes it: ``host`` may have a user and may be a name of ~/.ssh/config."""

    host: str
    port: int | None = None
    identity: Path | None = None
    config: Path | None = None

    def words(self) -> list[str]:
        """Options for ssh. Raises InputError for a host that ssh would take for one."""
        if not self.host or self.host.startswith("-") or not self.host.isprintable() or " " in self.host:
            raise InputError(f"{self.host!r}: no host: give it as user@host")
        words = [] if self.config is None else ["-F", str(self.config)]
        words += [] if self.port is None else ["-p", str(self.port)]
        return words if self.identity is None else [*words, "-i", str(self.identity)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program on the other side said, and its exit code."""

    code: int
    stdout: str
    stderr: str


class Ssh:
    """A connection that all commands share, where ssh can share one. A context manager.

    ``interactive``: there is somebody to ask for a password or about a key; else ssh fails where it would ask.
    Every method raises InputError where the other side cannot be reached, OutputError where it went away meanwhile.
    """

    def __init__(self, address: Address, *, interactive: bool) -> None:
        self.host = address.host
        program = shutil.which("ssh")
        if program is None:
            raise InputError("ssh is not installed here: apt-get install openssh-client, or your system's OpenSSH")
        self._stack = contextlib.ExitStack()
        self._command = [program, *address.words()]
        for name, value in {**_OPTIONS, "BatchMode": "no" if interactive else "yes"}.items():
            self._command += ["-o", f"{name}={value}"]
        self._refuse_unchecked(program, address)
        if sys.platform != "win32":  # its OpenSSH shares no connections
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fer-edge-ssh-"))
            shared = {"ControlMaster": "auto", "ControlPath": f"{folder}/c", "ControlPersist": "120"}
            self._command += [word for name, value in shared.items() for word in ("-o", f"{name}={value}")]
        self._connected = False

    def __enter__(self) -> Ssh:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; may be called twice."""
        if self._connected and sys.platform != "win32":
            subprocess.run([*self._command, "-O", "exit", "--", self.host], capture_output=True, check=False)
        self._connected = False
        self._stack.close()

    def run(self, script: str, *, feed: Callable[[IO[bytes]], object] | None = None) -> Answer:
        """Run a ``script`` of ``sh`` to its end there; ``feed`` writes its standard input."""
        with self._started(script, subprocess.PIPE) as (process, complaints):
            with contextlib.suppress(BrokenPipeError):  # it ended before it had read all: its exit code tells
                if feed is not None and process.stdin is not None:
                    feed(process.stdin)
            with contextlib.suppress(BrokenPipeError):
                if process.stdin is not None:
                    process.stdin.close()
            said = process.stdout.read().decode(errors="replace") if process.stdout is not None else ""
            return self._answer(process.wait(), said, complaints)

    def follow(self, script: str, report: Callable[[str], object]) -> Answer:
        """Run a ``script`` there to its end; ``report`` is given each line of its standard output as it comes."""
        with self._started(script, subprocess.DEVNULL) as (process, complaints):
            for line in process.stdout or ():
                report(line.decode(errors="replace").rstrip("\n"))
            return self._answer(process.wait(), "", complaints)

    def run_in_terminal(self, script: str) -> int:
        """Run a ``script`` there with this terminal as its own, for programs that ask for a password."""
        code = subprocess.run([*self._command, "-t", "--", self.host, _remote(script)], check=False).returncode
        if code == _FAILED:
            raise OutputError(f"{self.host}: the connection was cut; run it again")
        return code

    @contextlib.contextmanager
    def _started(self, script: str, stdin: int) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
        # A file for what it complains of: a connection that is kept open holds on to that, and a pipe would never end.
        with tempfile.TemporaryFile() as complaints:
            command = [*self._command, "--", self.host, _remote(script)]
            with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=complaints) as process:
                try:
                    yield process, complaints
                except BaseException:
                    process.kill()
                    raise

    def _answer(self, code: int, stdout: str, complaints: IO[bytes]) -> Answer:
        complaints.seek(0)
        stderr = complaints.read().decode(errors="replace").strip()
        if code != _FAILED:
            self._connected = True
            return Answer(code, stdout, stderr)
        if self._connected:
            raise OutputError(f"{self.host}: the connection was cut; run it again: what has arrived there is kept")
        for part, reason in _REASONS:
            if part in stderr:
                raise InputError(f"{self.host}: {reason.format(host=self.host)}")
        raise InputError(f"{self.host}: ssh fails: {(stderr.splitlines() or ['it does not say why'])[-1]}")

    def _refuse_unchecked(self, program: str, address: Address) -> None:
        """Raises InputError where the user's ssh is told to take any machine for the one that is meant."""
        asked = subprocess.run(
            [program, *address.words(), "-G", "--", self.host], capture_output=True, text=True, check=False
        )
        if asked.returncode:
            said = asked.stderr.strip().splitlines() or ["it does not say why"]
            raise InputError(f"{self.host}: ssh refuses this: {said[-1]}")
        if any(
            line.split() in (["stricthostkeychecking", word] for word in ("false", "no", "off"))
            for line in asked.stdout.lower().splitlines()
        ):
            raise InputError(
                f"{self.host}: your ssh's settings have StrictHostKeyChecking off: it would hand secrets to anybody"
            )


def _remote(script: str) -> str:
    # Whatever shell the user has there, this is for sh.
    return f"exec sh -c {shlex.quote(script)}"
