"""The work of ``fer-edge chain``."""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from fer_chain import dvc, graph
from fer_chain.plan import Step, plan, select
from fer_chain.settings import load_chain
from fer_edge.errors import InputError
from fer_edge.system.extras import require_modules
from fer_edge.system.files import write_text_atomically
from fer_edge.system.messages import print_text

_NEEDED = {
    "train": ("train", ("keras", "matplotlib", "sklearn", "tqdm")),
    "convert": ("convert", ("keras", "tensorflow", "sklearn", "statsmodels")),
    "bench": ("bench", ("sklearn", "statsmodels")),
    "report": ("bench", ("matplotlib",)),
    "release": ("release", ("tuf", "cryptography")),
}
"""Extra and packages of a kind of step, to be checked before the first step: training may take hours."""


def run(arguments: argparse.Namespace) -> int:
    """Run the steps that have changed, or show them; return the exit code of the step that failed."""
    file: Path = arguments.file
    chain = load_chain(file)
    every = plan(chain, file)
    steps = select(every, arguments.first, arguments.last)
    require_modules(("doit",), "chain")
    from fer_chain.tasks import Chain

    tasks = Chain(steps, every, Path(chain.out))
    if arguments.dry_run:
        for step, reason in tasks.preview():
            print_text(f"{step.name}: {reason}\n  fer-edge {shlex.join(step.words)}\n")
        return 0
    _check_tools(steps)
    return tasks.run()


def show(arguments: argparse.Namespace) -> int:
    """Print the graph; write it as a picture if requested."""
    steps = plan(load_chain(arguments.file), arguments.file)
    if arguments.png is not None:
        graph.draw(steps, arguments.png)
    print_text(graph.as_text(steps))
    return 0


def export_dvc(arguments: argparse.Namespace) -> int:
    """Write the chain as a dvc.yaml, and print its path."""
    if arguments.out.exists() and not arguments.force:
        raise InputError(f"{arguments.out}: already exists; replace it with --force, or choose another --out")
    write_text_atomically(arguments.out, dvc.dvc_yaml(plan(load_chain(arguments.file), arguments.file), arguments.file))
    print_text(f"{arguments.out}\n")
    return 0


def _check_tools(steps: Sequence[Step]) -> None:
    kinds = {step.kind for step in steps}
    for kind, (extra, packages) in _NEEDED.items():
        if kind in kinds:
            require_modules(packages, extra)
    if "deploy" in kinds and shutil.which("ssh") is None:
        raise InputError("step deploy: the program ssh is not installed; install OpenSSH's client")
