"""``fer-edge runs``: list the training runs in a folder. Loads neither models nor a training framework."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fer_bench.tables import percent, text_table
from fer_edge.errors import FerEdgeError, InputError, reason_of
from fer_edge.system.messages import print_text
from fer_train.locks import is_held
from fer_train.recipe.recipe import load_recipe
from fer_train.training.run_folder.files import (
    CHECKPOINT,
    CONFIG,
    HISTORY,
    LOCK,
    MODEL,
    RUN,
    learned_sets,
    record_of_run,
    started_at,
)

_HEADER = ("run", "recipe", "accuracy %", "on", "parameters", "KiB", "when", "state")
_FER2013 = "fer2013"
_SPLITS = {"public_test_accuracy": "PublicTest", "validation_accuracy": "validation"}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run. ``accuracy`` is 0..1 on ``split``; of an unfinished run it is that of its best epoch so far.

    ``bytes`` is the size of the model, or of the checkpoint; ``when`` is the local time of the start, or of the last
    change if no start is recorded. Unknown values are None.
    """

    run: str
    recipe: str | None
    accuracy: float | None
    split: str | None
    parameters: int | None
    bytes: int | None
    when: str
    finished: bool
    state: str


def run(arguments: argparse.Namespace) -> int:
    """Run ``runs`` and return the exit code."""
    folder: Path = arguments.folder
    found = [summarize(each) for each in run_folders(folder)]
    if not found:
        raise InputError(f"{folder}: contains no run; give a folder in which `fer-edge train --out` made some")
    if arguments.json:
        print_text(json.dumps([dataclasses.asdict(each) for each in found], indent=2) + "\n")
    else:
        print_text(text_table(_HEADER, [_row(each) for each in found], 2))
    return 0


def run_folders(folder: Path) -> Iterator[Path]:
    """Yield the runs in ``folder`` by name, or ``folder`` itself if it is a run.

    Raises:
        InputError: If it cannot be read.
    """
    if _is_run(folder):
        yield folder
        return
    try:
        yield from sorted(filter(_is_run, folder.iterdir()))
    except OSError as error:
        raise InputError(f"{folder}: cannot read it: {error.strerror}; give the folder that runs are in") from None


def summarize(folder: Path) -> RunSummary:
    """Return the summary of a run from its files; ``state`` names a damaged file."""
    try:
        record = record_of_run(folder / MODEL)
        return _summary(folder, record) if (folder / CONFIG).exists() or record else _broken(folder, f"has no {CONFIG}")
    except (FerEdgeError, OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        return _broken(folder, reason_of(error) if isinstance(error, OSError) else str(error))


def _summary(folder: Path, record: dict[str, Any] | None) -> RunSummary:
    recipe = load_recipe(folder / CONFIG) if (folder / CONFIG).exists() else None
    if record is not None:
        key, on = next((key, on) for key, on in _SPLITS.items() if key in record)
        accuracy = float(record[key])
        name, parameters = str(record["name"]), int(record["params"])
        finished = (folder / MODEL).is_file()
        state = "finished" if finished else f"{MODEL} is missing"
        return _made(folder, RunSummary(folder.name, name, accuracy, on, parameters, None, "", finished, state))
    if recipe is None:
        raise InputError(f"has no {CONFIG}")
    history = (folder / HISTORY).read_text(encoding="utf-8") if (folder / HISTORY).exists() else ""
    epochs = [json.loads(line) for line in history.splitlines()]
    best = max((float(line["val_accuracy"]) for line in epochs), default=None)
    learned = learned_sets(folder)[-1:]
    # Older runs have no record of their data; their recipe then says whether it was FER2013.
    of_fer2013 = (
        _FER2013 in learned[0]["name"].split("_") if learned else not any(each.path for each in recipe.data.sets)
    )
    split = None if best is None else "PublicTest" if of_fer2013 else "validation"
    doing = "training" if is_held(folder / LOCK) else "stopped"
    state = f"{doing}: {len(epochs)} of {recipe.loop.epochs} epochs"
    return _made(folder, RunSummary(folder.name, recipe.name, best, split, None, None, "", False, state))


def _broken(folder: Path, problem: str) -> RunSummary:
    state = " ".join(f"damaged: {problem}".split())
    return _made(folder, RunSummary(folder.name, None, None, None, None, None, "", False, state))


def _made(folder: Path, summary: RunSummary) -> RunSummary:
    """Return ``summary`` with size and time."""
    kept = next((folder / name for name in (MODEL, CHECKPOINT) if (folder / name).is_file()), None)
    latest = max(
        (each.stat().st_mtime for name in (RUN, HISTORY, CONFIG) if (each := folder / name).exists()), default=0
    )
    when = (started_at(folder) or datetime.fromtimestamp(latest)).astimezone().isoformat(timespec="seconds")
    return dataclasses.replace(summary, bytes=kept.stat().st_size if kept else None, when=when)


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIG, RUN))


def _row(each: RunSummary) -> list[str]:
    return [
        each.run,
        each.recipe or "–",
        "–" if each.accuracy is None else percent(each.accuracy, 2),
        each.split or "–",
        "–" if each.parameters is None else f"{each.parameters:,}",
        "–" if each.bytes is None else f"{each.bytes / 1024:,.0f}",
        each.when[:16].replace("T", " "),
        each.state,
    ]
