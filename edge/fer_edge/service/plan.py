"""The steps of installing and removing the service, which ``--dry-run`` prints instead of running them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import CheckFailedError, InputError
from fer_edge.system.files import write_text_atomically


@dataclass(frozen=True, slots=True)
class System:
    """The file system to change: this machine's, or the one below ``root``, such as a mounted image."""

    root: Path | None = None

    def path(self, name: str) -> Path:
        """Return the path of the file ``name`` of that system, as seen from this one."""
        return Path(name) if self.root is None else self.root / name.lstrip("/")

    def tool(self, program: str, *arguments: str) -> Command:
        """Return the command that runs a systemd tool on that system."""
        return Command((program, *([] if self.root is None else [f"--root={self.root}"]), *arguments))

    def group_id(self, name: str) -> int | None:
        """Return the id of the group ``name`` in that system, None if it does not exist."""
        try:
            lines = self.path("/etc/group").read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split(":")[2]) for line in lines if line.startswith(f"{name}:")), None)


def run_program(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of systemd and return its output and exit code. Raises InputError if it cannot be started."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"{words[0]} cannot be run: {error.strerror}; the service requires systemd") from None


@dataclass(frozen=True, slots=True)
class Command:
    """Run a program and wait for it. With ``may_fail``, its exit code is ignored."""

    words: tuple[str, ...]
    may_fail: bool = False

    def __str__(self) -> str:
        return f"run {' '.join(self.words)}"

    def execute(self) -> bool:
        """Run the program and return True.

        Raises:
            CheckFailedError: It failed; the message contains the first line of its output.
            InputError: It cannot be started.
        """
        done = run_program(*self.words)
        if done.returncode and not self.may_fail:
            output = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
            raise CheckFailedError(f"{' '.join(self.words)}: exit {done.returncode}: {output[0]}")
        return True


@dataclass(frozen=True, slots=True)
class Write:
    """Write ``text`` to a file with permissions ``mode`` and, if given, owned by ``group`` of ``system``."""

    path: Path
    text: str
    mode: int = 0o644
    group: str | None = None
    system: System = System()

    def __str__(self) -> str:
        return f"write {self.path}"

    def execute(self) -> bool:
        """Write the file and return True; return False if it has this content already. Raises OutputError."""
        if self.path.is_file() and self.path.read_text() == self.text:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.path, self.text)
        self.path.chmod(self.mode)
        group_id = None if self.group is None else self.system.group_id(self.group)
        if group_id is not None:
            os.chown(self.path, -1, group_id)
        return True


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a file."""

    path: Path

    def __str__(self) -> str:
        return f"delete {self.path}"

    def execute(self) -> bool:
        """Delete the file; return whether it existed."""
        existed = self.path.exists()
        self.path.unlink(missing_ok=True)
        return existed


Step = Command | Write | Delete
