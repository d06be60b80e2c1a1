"""A chain on the miniature data set, with a network so small that starting programs is most of its work."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.processes.edge_command import clean_environment, command_line
from support.training.parallel import write_training

CHAIN = """\
out = "out"
[data]
path = "fer2013.csv"
[train]
recipes = ["recipe.toml"]
[gate]
rules = "gate.toml"
[bench]
accuracy = []
report = false
"""
GATE = "variants = ['int8']\n[file]\nmax_bytes = {}\n"


def write_chain(folder: Path, *, epochs: int = 1) -> Path:
    """Write the chain and all that it reads to ``folder``; return its file."""
    write_training(folder)
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 3", f"epochs = {epochs}"))
    (folder / "gate.toml").write_text(GATE.format(1_000_000))
    (folder / "chain.toml").write_text(CHAIN)
    return folder / "chain.toml"


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the chain in ``folder``."""
    return subprocess.run(
        command_line("chain", "run", "chain.toml", *options),
        cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return what was printed last about each step."""
    lines = [line.partition("] ")[2] for line in done.stdout.splitlines() if line.startswith("[")]
    return {name: "done" if text.startswith("done") else text for name, _, text in (x.partition(": ") for x in lines)}
