"""What installing and removing does to a system, as a list of steps that can be shown before they are taken."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import CheckFailedError, InputError
from fer_edge.system.files import write_text_atomically


@dataclass(frozen=True, slots=True)
class System:
    """The file system that is worked on: this machine's own, or an image's below ``root``."""

    root: Path | None = None

    def path(self, name: str) -> Path:
        """Where the file ``name`` of that system is seen from here."""
        return Path(name) if self.root is None else self.root / name.lstrip("/")

    def tool(self, program: str, *arguments: str) -> Command:
        """A program of systemd that works on that system."""
        return Command((program, *([] if self.root is None else [f"--root={self.root}"]), *arguments))

    def group_id(self, name: str) -> int | None:
        """The number of a group there."""
        try:
            lines = self.path("/etc/group").read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split(":")[2]) for line in lines if line.startswith(f"{name}:")), None)


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run to its end; if ``may_fail``, its failure is ignored."""

    words: tuple[str, ...]
    may_fail: bool = False

    def __str__(self) -> str:
        return f"run {' '.join(self.words)}"

    def carry_out(self) -> bool:
        """Raises CheckFailedError with the first line that it said, when it fails, InputError when there is none."""
        try:
            done = subprocess.run(self.words, capture_output=True, text=True, check=False)
        except OSError as error:
            raise InputError(f"{self.words[0]} cannot be run: {error.strerror}; a service needs systemd") from None
        if done.returncode and not self.may_fail:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
            raise CheckFailedError(f"{' '.join(self.words)}: exit {done.returncode}: {said[0]}")
        return True


@dataclass(frozen=True, slots=True)
class Write:
    """A file with ``text``, which only its owner, the ``group`` and, by ``mode``, others may read."""

    path: Path
    text: str
    mode: int = 0o644
    group: str | None = None
    system: System = System()

    def __str__(self) -> str:
        return f"write {self.path}"

    def carry_out(self) -> bool:
        """False when the file was so already. Raises OutputError."""
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
    """A file that goes."""

    path: Path

    def __str__(self) -> str:
        return f"delete {self.path}"

    def carry_out(self) -> bool:
        """False when there was none."""
        there = self.path.exists()
        self.path.unlink(missing_ok=True)
        return there


Step = Command | Write | Delete
