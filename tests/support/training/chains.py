"""A chain on the miniature data set, with a network so small that starting programs is most of its work."""

from __future__ import annotations

from pathlib import Path

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
