"""Run commands on another machine with the system's ``ssh`` (OpenSSH), the user's keys, agent and ``~/.ssh/config``.

ssh verifies the host key; this is never turned off.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from fer_edge.errors import InputError, OutputError
from fer_edge.system.closing import Closing

_FAILED = 255
"""Exit code of ssh if ssh itself failed, and not the remote program; see ssh(1)."""
_OPTIONS = {
    "LogLevel": "ERROR",  # keeps banners out of the error messages
    "ConnectTimeout": "15",
    "ServerAliveInterval": "10",  # detects a dead connection after half a minute
    "ServerAliveCountMax": "3",
}
_UNKNOWN_KEY = "its host key is unknown here: run `ssh {host}` in a terminal, compare the fingerprint, then try again"
_CHANGED_KEY = (
    "its host key differs from the known one: the system there is new, or the connection is intercepted; if you know"
    " the reason: ssh-keygen -R {host}"
)
_REASONS = (  # the first one that ssh's error message contains is used
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", _CHANGED_KEY),
    ("Host key verification failed", _UNKNOWN_KEY),
    ("Could not resolve hostname", "unknown host: is it switched on, and in this network?"),
    ("Permission denied", "it accepts none of these keys: ssh-copy-id {host}, or use --identity"),
    ("Connection refused", "connection refused: the SSH server is not running there"),
    ("timed out", "does not answer: is it switched on, and in this network?"),
    ("No route to host", "no route to it: is it switched on, and in this network?"),
)


@dataclass(frozen=True, slots=True)
class Address:
    """The address for ssh; ``host`` may include a user, and may be a name from ~/.ssh/config."""

    host: str
    port: int | None = None
    identity: Path | None = None
    config: Path | None = None

    def words(self) -> list[str]:
        """Return the options for ssh. Raises InputError for a host that ssh would read as an option."""
        if not self.host or self.host.startswith("-") or not self.host.isprintable() or " " in self.host:
            raise InputError(f"{self.host!r}: not a host: give it as user@host")
        words = [] if self.config is None else ["-F", str(self.config)]
        words += [] if self.port is None else ["-p", str(self.port)]
        return words if self.identity is None else [*words, "-i", str(self.identity)]


@dataclass(frozen=True, slots=True)
class Answer:
    """Output and exit code of a remote program."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A remote program that is running. ``end`` closes its input, and returns its exit code and standard error.

    ``end`` raises what ``Ssh.run`` does.
    """

    stdin: IO[bytes]
    stdout: IO[bytes]
    end: Callable[[], Answer]


class Ssh(Closing):
    """A connection that all commands share, if ssh supports it. A context manager.

    With ``interactive``, ssh may ask for a password or about a host key; otherwise it fails instead. Every method
    raises InputError if the host cannot be reached, and OutputError if the connection is lost.
    """

    def __init__(self, address: Address, *, interactive: bool) -> None:
        self.host = address.host
        program = shutil.which("ssh")
        if program is None:
            raise InputError("ssh is not installed here: apt-get install openssh-client, or your system's OpenSSH")
        self._stack = contextlib.ExitStack()
        self._refuse_unchecked(program, address)
        options = {**_OPTIONS, "BatchMode": "no" if interactive else "yes"}
        if sys.platform != "win32":  # Windows' OpenSSH cannot share connections
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fer-edge-ssh-"))
            options |= {"ControlMaster": "auto", "ControlPath": f"{folder}/c", "ControlPersist": "120"}
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        self._command = [program, *address.words(), *words]
        self._connected = False

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._connected and sys.platform != "win32":
            subprocess.run([*self._command, "-O", "exit", "--", self.host], capture_output=True, check=False)
        self._connected = False
        self._stack.close()

    def run(self, script: str, *, feed: Callable[[IO[bytes]], object] | None = None) -> Answer:
        """Run a ``script`` with ``sh`` there and wait for it; ``feed`` writes its standard input."""
        with self.converse(script) as running:
            with contextlib.suppress(BrokenPipeError):  # it exited before reading everything; its exit code shows why
                if feed is not None:
                    feed(running.stdin)
            with contextlib.suppress(BrokenPipeError):
                running.stdin.close()
            said = running.stdout.read().decode(errors="replace")
            return replace(running.end(), stdout=said)

    def follow(self, script: str, report: Callable[[str], object]) -> Answer:
        """Run a ``script`` there without input and wait for it; ``report`` is called with each line of its output."""
        with self.converse(script) as running:
            running.stdin.close()
            for line in running.stdout:
                report(line.decode(errors="replace").rstrip("\n"))
            return running.end()

    @contextlib.contextmanager
    def converse(self, script: str) -> Iterator[Conversation]:
        """Run a ``script`` there during the block, which writes its input and reads its output, as both need it."""
        command = [*self._command, "--", self.host, _remote(script)]
        # A file for standard error: the shared connection keeps it open, so a pipe would never reach its end.
        with (
            tempfile.TemporaryFile() as complaints,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints) as process,
        ):
            assert process.stdin is not None and process.stdout is not None
            stdin = process.stdin

            def end() -> Answer:
                with contextlib.suppress(BrokenPipeError):
                    stdin.close()
                return self._answer(process.wait(), complaints)

            try:
                yield Conversation(stdin, process.stdout, end)
            except BaseException:
                process.kill()  # first: closing its input may block as long as it reads that
                raise
            finally:
                with contextlib.suppress(BrokenPipeError):  # it is gone; Popen would raise this
                    stdin.close()

    def run_in_terminal(self, script: str) -> int:
        """Run a ``script`` there in this terminal, for programs that ask for a password."""
        code = subprocess.run([*self._command, "-t", "--", self.host, _remote(script)], check=False).returncode
        if code == _FAILED:
            raise OutputError(f"{self.host}: the connection was cut; run this again")
        return code

    def _answer(self, code: int, complaints: IO[bytes]) -> Answer:
        complaints.seek(0)
        stderr = complaints.read().decode(errors="replace").strip()
        if code != _FAILED:
            self._connected = True
            return Answer(code, "", stderr)
        if self._connected:
            raise OutputError(f"{self.host}: the connection was cut; run this again: files that arrived are kept")
        for part, reason in _REASONS:
            if part in stderr:
                raise InputError(f"{self.host}: {reason.format(host=self.host)}")
        raise InputError(f"{self.host}: ssh failed: {(stderr.splitlines() or ['no error message'])[-1]}")

    def _refuse_unchecked(self, program: str, address: Address) -> None:
        """Raise InputError if the user's ssh configuration turns the check of host keys off.

        With ``accept-new``, ssh trusts any key once and adds it to the first file of UserKnownHostsFile; without such a
        file, it trusts any key each time.
        """
        asked = subprocess.run(
            [program, *address.words(), "-G", "--", self.host], capture_output=True, text=True, check=False
        )
        if asked.returncode:
            said = asked.stderr.strip().splitlines() or ["no error message"]
            raise InputError(f"{self.host}: ssh refuses this: {said[-1]}")
        chosen = dict(line.split(None, 1) for line in asked.stdout.splitlines() if " " in line)
        checking = chosen.get("stricthostkeychecking", "").lower()
        if checking == "accept-new" and not _is_kept(chosen.get("userknownhostsfile", "")):
            raise InputError(
                f"{self.host}: your ssh configuration accepts new host keys and keeps none (UserKnownHostsFile);"
                " another machine could get the secrets: name a file there, or set StrictHostKeyChecking to ask"
            )
        if checking in ("false", "no", "off"):
            raise InputError(
                f"{self.host}: your ssh configuration turns StrictHostKeyChecking off;"
                " another machine could get the secrets: turn it on"
            )


def _is_kept(files: str) -> bool:
    """Return whether ssh can add a key to the first of the known hosts ``files``."""
    first = (files.split() or ["none"])[0]
    path = Path(os.path.expanduser(first))  # noqa: PTH111 - Path's raises for an unknown user
    return first != "none" and (path.is_file() or not path.exists())


def _remote(script: str) -> str:
    # The user's shell there may be another one than sh.
    return f"exec sh -c {shlex.quote(script)}"
