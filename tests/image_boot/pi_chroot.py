"""Run aarch64 programs in a folder with a whole system, as root, without a network; they may change all its files.

Bubblewrap mounts in a separate namespace, so that nothing stays mounted however the run ends.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from arm.sandbox import Cpu, last_line, write_board
from fer_edge.errors import CheckFailedError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class PiChroot:
    """The system in ``root`` on ``cpu``; the emulated board's files are written to the folder ``board``."""

    root: Path
    board: Path
    cpu: Cpu

    def run(self, *words: str, shown: Mapping[Path, str] | None = None, stdin: bytes = b"") -> bytes:
        """Run a command and return its stdout; each path of ``shown`` is visible to it, read-only.

        Raises CheckFailedError if it fails.
        """
        command = self.command(*words, shown=shown)
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        if done.returncode:
            said = last_line(done.stderr or done.stdout)
            raise CheckFailedError(f"{self.cpu.name}: {' '.join(words)[:80]}: exit {done.returncode}: {said}")
        return done.stdout

    @contextmanager
    def started(
        self, *words: str, log: Path, shown: Mapping[Path, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command that writes to ``log``; at the end of the block it and its children are killed."""
        command = self.command(*words, shown=shown)
        with (
            log.open("wb") as output,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
        ):
            try:
                yield process
            finally:
                process.kill()  # bubblewrap: everything in it ends with it

    def command(self, *words: str, shown: Mapping[Path, str] | None = None) -> list[str]:
        """Return the command line with which ``run`` starts a command."""
        return [*self._bubblewrap(shown or {}), *words]

    def _bubblewrap(self, shown: Mapping[Path, str]) -> list[str]:
        # Not --unshare-user: install.sh must be able to set the owners of files.
        command = ["bwrap", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]
        command += ["--clearenv", "--setenv", "PATH", _PATH, "--setenv", "LANG", "C.UTF-8", "--setenv", "HOME", "/root"]
        command += ["--setenv", "QEMU_CPU", self.cpu.name, "--chdir", "/"]
        command += ["--bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        command += ["--tmpfs", "/run"]
        for outside, inside in {**write_board(self.board, self.cpu), **shown}.items():
            command += ["--ro-bind", str(outside), inside]
        return command
