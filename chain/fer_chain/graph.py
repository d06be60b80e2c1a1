"""The graph of a chain, as text and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fer_chain.plan import Step
from fer_edge.errors import MissingExtraError
from fer_edge.system.files import atomic_path

_WIDTH, _HEIGHT = 2.3, 1.0
"""Inches between the centres of two steps."""


def as_text(steps: Sequence[Step]) -> str:
    """Return the steps as a tree: each one below the last step that it needs, which is not always the only one."""
    needed = _direct(steps)
    below: dict[str, list[Step]] = {}
    for step in steps:
        below.setdefault(needed[step.name][-1] if needed[step.name] else "", []).append(step)

    def lines(parent: str, indent: str) -> Iterator[str]:
        children = below.get(parent, [])
        for number, step in enumerate(children):
            last = number == len(children) - 1
            others = needed[step.name][:-1]
            also = f"  (also after {', '.join(others)})" if others else ""
            writes = f"  → {', '.join(map(str, step.outputs))}" if step.outputs else ""
            branch = "" if not parent else "└── " if last else "├── "
            yield f"{indent}{branch}{step.name}{writes}{also}\n"
            yield from lines(step.name, indent + ("" if not parent else "    " if last else "│   "))

    return "".join(lines("", ""))


def draw(steps: Sequence[Step], path: Path) -> None:
    """Write the graph as a PNG.

    Raises:
        MissingExtraError: if Matplotlib is not installed.
        OutputError: if the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "chain") from None

    columns, needed = _columns(steps), _direct(steps)
    height = max(len(column) for column in columns)
    centres = {
        step.name: (x * _WIDTH, ((height - 1) / 2 - y + (len(column) - 1) / 2) * _HEIGHT)
        for x, column in enumerate(columns)
        for y, step in enumerate(column)
    }
    figure = Figure(figsize=(len(columns) * _WIDTH, height * _HEIGHT + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-_WIDTH / 2, (len(columns) - 0.5) * _WIDTH)
    axes.set_ylim(-_HEIGHT / 2, (height - 0.5) * _HEIGHT)
    box = {"boxstyle": "round,pad=0.5", "fc": "#e8f1f2"}
    boxes = {
        name: axes.text(*centre, name, ha="center", va="center", bbox=box).get_bbox_patch()
        for name, centre in centres.items()
    }
    for step in steps:
        for name in needed[step.name]:
            arrow = {"arrowstyle": "->", "color": "0.4", "patchA": boxes[name], "patchB": boxes[step.name]}
            axes.annotate("", centres[step.name], centres[name], arrowprops=arrow)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _direct(steps: Sequence[Step]) -> dict[str, list[str]]:
    """Return the steps that each step needs, in order, without those that another one of them needs anyway."""
    place = {step.name: index for index, step in enumerate(steps)}
    before: dict[str, set[str]] = {}
    for step in steps:
        before[step.name] = {*step.after}.union(*(before[name] for name in step.after))
    return {
        step.name: sorted((n for n in step.after if not any(n in before[m] for m in step.after)), key=place.__getitem__)
        for step in steps
    }


def _columns(steps: Sequence[Step]) -> list[list[Step]]:
    """Return the steps by the length of the longest way to them; ``steps`` are in the order in which they run."""
    depth: dict[str, int] = {}
    columns: list[list[Step]] = []
    for step in steps:
        depth[step.name] = max((depth[name] + 1 for name in step.after), default=0)
        if depth[step.name] == len(columns):
            columns.append([])
        columns[depth[step.name]].append(step)
    return columns
