"""A miniature training run, by the real command on a miniature FER2013."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.data.fer2013 import write_mini_fer2013

RECIPE = """\
name = "mini"
[model]
stem_width = 16
widths = [16, 32]
blocks = [1, 1]
dropout = 0.1
[augment]
rotate_degrees = 2.0
erase_probability = 0.0
[loop]
epochs = 3
batch_size = 16
learning_rate = 0.01
weight_decay = 0.0
label_smoothing = 0.0
sizes = [32, 48]
size_changes = [2]
"""


@dataclass(frozen=True, slots=True)
class MiniRun:
    """Paths below ``folder``: a miniature data set, the recipe, and the finished run."""

    folder: Path

    @property
    def data(self) -> Path:
        """FER2013 as a CSV file."""
        return self.folder / "fer2013.csv"

    @property
    def recipe(self) -> Path:
        """The recipe of the run."""
        return self.folder / "mini.toml"

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.folder / "run"


def fer_edge(
    *arguments: str | Path, data: Path | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the real command in a new process, with FER_EDGE_DATA set to ``data`` or unset."""
    return subprocess.run(
        [sys.executable, "-m", "fer_edge", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment_with(data),
        cwd=cwd,
        check=False,
    )


def environment_with(data: Path | None) -> dict[str, str]:
    """Return this process's environment with FER_EDGE_DATA set to ``data``, or without it."""
    environment = {key: value for key, value in os.environ.items() if key != "FER_EDGE_DATA"}
    return environment if data is None else {**environment, "FER_EDGE_DATA": str(data)}


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Assert that the command ended with ``code`` and one line with ``words`` on stderr, without a traceback."""
    assert done.returncode == code, (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith("fer-edge: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def make_mini_run(folder: Path) -> MiniRun:
    """Train the miniature recipe in ``folder``, which must not exist."""
    from support.processes import fork

    mini = MiniRun(folder)
    folder.mkdir()
    write_mini_fer2013(mini.data, per_class=24, test_per_class=8, leaks=3)
    mini.recipe.write_text(RECIPE)
    done = fork.fer_edge("train", "--config", mini.recipe, "--out", mini.run, data=mini.data)
    assert done.returncode == 0, done.stderr
    return mini
