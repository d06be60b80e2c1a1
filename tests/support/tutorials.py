"""The pages of ``docs/``: commands to run in order, and their expected output.

A page is Markdown with three kinds of fenced blocks:

- ``sh``: run by a real shell, in the folder in which the block before it ended. It must succeed, unless ``sh exit=2``
  says how its last command ends.
- ``text``, right after an ``sh``: its complete output, including stderr. ``…`` matches any text in its line, and a line
  with only ``…`` matches any lines. Runs of blanks and dashes may have other lengths, because columns are as wide as
  their contents. An ``sh`` without a ``text`` prints nothing.
- ``console``: commands after ``$`` that need what a test does not have, such as a card.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import clean_environment

_FENCED = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_READ_BY_PAGES = (
    *("docs", "models/fer-edge-m", "models/fer-edge-s", "models/fer-edge-xs"),
    *("benchmarks/results", "convert/gate.toml"),
)
"""Files and folders of a checkout."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its kind (``sh``), the rest of the line that opens it, its text, and that line's number."""

    kind: str
    rest: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Step:
    """Commands of one ``sh`` block, expected output and exit code; ``line`` is their line in the page."""

    commands: str
    shown: str
    code: int
    line: int


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found = []
    for match in _FENCED.finditer(page):
        kind, _, rest = match["info"].partition(" ")
        found.append(Block(kind, rest, match["text"], page.count("\n", 0, match.start()) + 1))
    return found


def prose(page: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCED.sub("", page)


def steps(page: str) -> Iterator[Step]:
    """Return the commands of a page. Raises ValueError for code outside of the blocks described above."""
    found = blocks(page)
    # A fence that is not closed, and text that is code in Markdown because of its indentation.
    for number, line in enumerate(prose(page).splitlines(), 1):
        if line.startswith(("```", "    ")):
            raise ValueError(f"line {number} outside of the blocks: {line}")
    for index, block in enumerate(found):
        after = found[index + 1] if index + 1 < len(found) else None
        if block.kind == "sh":
            code = re.fullmatch(r"(?:exit=(\d+))?", block.rest)
            if code is None:
                raise ValueError(f"line {block.line}: sh {block.rest}")
            shown = after.text if after is not None and after.kind == "text" else ""
            yield Step(block.text, shown, int(code[1] or 0), block.line)
        elif block.kind not in ("text", "console") or block.rest:
            raise ValueError(f"line {block.line}: {block.kind} {block.rest}")
        elif block.kind == "text" and (index == 0 or found[index - 1].kind != "sh"):
            raise ValueError(f"line {block.line}: text that is shown by no sh block")


def prints(shown: str, printed: str) -> bool:
    """Return whether ``printed`` matches the output that a page shows."""
    lines = ["(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in _even(shown)]
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _even(printed))) is not None


def _even(text: str) -> list[str]:
    """Return lines that do not depend on the width of columns."""
    return [re.sub("-{2,}", "--", re.sub(r"\s+", " ", line)).strip() for line in text.splitlines()]


def lay_out(folder: Path) -> None:
    """Copy the files of the checkout that the pages read, so that a page cannot change the checkout."""
    for name in _READ_BY_PAGES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
        copy(CHECKOUT / name, folder / name)


class Shell:
    """A reader's shell: it starts in ``folder`` and keeps its working directory between blocks of commands.

    ``variables`` are added to its environment.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self._environment = {**clean_environment(), **variables}
        self._environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self._environment['PATH']}"
        # Set by the tests; a reader's shell does not have them.
        for name in ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"):
            self._environment.pop(name, None)

    def run(self, commands: str) -> tuple[int, str]:
        """Return the exit code and the output; stop after the first command that fails."""
        reading, writing = os.pipe()
        with os.fdopen(reading) as told:
            with os.fdopen(writing, "w"):
                done = subprocess.run(
                    ["bash", "-e", "-o", "pipefail", "-c", f"trap 'pwd >&{writing}' EXIT\n{commands}"],
                    cwd=self.folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writing],
                    text=True,
                    timeout=600,
                    check=False,
                )
            self.folder = Path(told.read().strip())
        return done.returncode, done.stdout
