"""The folder of a training run: opened, resumed, started from another run's, and saved to after each epoch.

    config.toml       the resolved recipe            history.jsonl   one line an epoch
    checkpoint.keras  the latest epoch, resumable    best.keras      the epoch best on PublicTest
    held.keras        the last epoch at full rate    curves.png      loss and accuracy by epoch
    model.keras       what is kept, for one fixed input  run.json    what it was trained on, by which code
    averaged.npz      the mean of the last epochs, if it is what is kept (``loop.averaged_epochs``)

``held.keras`` is there once the rate falls (``loop.cooldown_epochs``): a longer run starts from it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from fer_edge.errors import ConfigError, InputError, OutputError
from fer_edge.settings.base import to_table
from fer_edge.settings.toml_files import dump_toml
from fer_edge.system.files import atomic_path, write_text_atomically
from fer_train.averaging import add_epoch
from fer_train.backend import check_model_file
from fer_train.config import MOST, RUN_CONFIG, LoopSettings, Recipe, TargetSettings, load_recipe

CHECKPOINT, BEST, HELD, MODEL = "checkpoint.keras", "best.keras", "held.keras", "model.keras"
CONFIG, HISTORY, RUN, CURVES = RUN_CONFIG, "history.jsonl", "run.json", "curves.png"
STUDY = "study.db"
"""Tells the folder of a search (``fer_train.tune``) from a run's: by default both are called by the recipe's name."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: epochs done and one dictionary for each; "best" marks each that was the best so far."""

    history: list[dict[str, Any]]

    @property
    def epoch(self) -> int:
        """The next epoch, from 0."""
        return len(self.history)

    @property
    def best(self) -> dict[str, Any] | None:
        """The line of the epoch that best.keras holds; None before the first epoch."""
        return next((line for line in reversed(self.history) if line["best"]), None)

    def add(self, line: dict[str, Any]) -> None:
        """Append an epoch's line; it is the best when none before had a higher PublicTest accuracy."""
        best = self.best
        self.history.append({**line, "best": best is None or line["val_accuracy"] > best["val_accuracy"]})


def open_run(recipe: Recipe, run: Path, *, resume: bool = False, start: Path | None = None) -> Progress:
    """Create the folder ``run``, or check that the one there is this recipe's; then say how far it is.

    ``start`` is the folder of another run to begin a new one from. Raises ConfigError when ``run`` holds another
    recipe, or a run and ``resume`` is off, or when ``start`` was trained differently so far; InputError when there is
    nothing to resume or to start from; OutputError when the folder cannot be written.
    """
    progress, checkpoint = check_run(recipe, run, resume=resume, start=start)
    if resume:
        return progress
    try:
        run.mkdir(parents=True, exist_ok=True)
        if checkpoint:
            ends_hold = recipe.loop.cooldown_epochs and progress.epoch == recipe.loop.held_epochs
            for name in (CHECKPOINT, BEST, HELD) if ends_hold else (CHECKPOINT, BEST):
                shutil.copyfile(checkpoint, run / name)
    except OSError as error:
        raise OutputError(f"{run}: cannot make this folder: {error.strerror}") from error
    _write_history(progress.history, run)
    write_text_atomically(run / CONFIG, dump_toml(to_table(recipe)))
    return progress


def check_run(recipe: Recipe, run: Path, *, resume: bool, start: Path | None) -> tuple[Progress, Path | None]:
    """Refuse what ``open_run`` would, and change nothing: how far the run will be, and the checkpoint it begins with.

    Needs no Keras, so that a mistake is told at once. Raises ConfigError and InputError as ``open_run`` does.
    """
    config = run / CONFIG
    if (run / STUDY).exists():
        raise ConfigError(f"{run}: holds a search, not a run; choose another --out")
    if config.exists():
        if not resume:
            raise ConfigError(f"{run}: already holds a run; go on with --resume, or choose another --out")
        if load_recipe(config) != recipe:
            raise ConfigError(f"{run}: holds a run of another recipe ({config} differs); choose another --out")
        return _resumed(run), None
    if resume:
        raise InputError(f"{run}: nothing to resume: it holds no {CONFIG}")
    history, checkpoint = _shared_past(recipe, start) if start else ([], None)
    return Progress(history), checkpoint


def model_file(path: Path) -> Path:
    """The ``.keras`` file that ``path`` means: itself, or the kept model of the run whose folder it is.

    Raises InputError for a folder without one; whether the file is there and is a model, ``load_model`` sees.
    """
    if not path.is_dir():
        return path
    if not (path / MODEL).is_file():
        raise InputError(f"{path}: holds no {MODEL}; give a finished run or a .keras file")
    return path / MODEL


def record_of_run(model: Path) -> dict[str, Any] | None:
    """What the finished run whose file ``model`` is says of itself (run.json); None where it lies in no such folder.

    Raises InputError when the record cannot be read or names no labels.
    """
    record = model.with_name(RUN)
    if not record.is_file():
        return None
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        told["labels"] = [str(label) for label in told["labels"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{record}: not the record of a run: {error}") from None
    return dict(told)


def labels_of_run(model: Path) -> tuple[str, ...] | None:
    """The labels of the finished run whose file ``model`` is, in its order; None and errors as ``record_of_run``."""
    told = record_of_run(model)
    return None if told is None else tuple(told["labels"])


def _resumed(run: Path) -> Progress:
    """A run stopped in its first epoch has neither checkpoint nor lines; one that lost its checkpoint is refused."""
    history = _read_history(run / HISTORY) if (run / HISTORY).exists() else []
    if (run / CHECKPOINT).exists():
        return Progress(history)
    if history:
        raise InputError(
            f"{run}: cannot resume: it has done {len(history)} epochs but holds no {CHECKPOINT}; "
            "start a new run from it with --from"
        )
    if (run / RUN).exists():
        raise InputError(f"{run}: cannot resume: it is the mean of runs; begin with it by --weights {run}")
    return Progress([])


def save_epoch(model: Any, run: Path, progress: Progress, loop: LoopSettings) -> None:
    """Save the epoch just added.

    The checkpoint comes first and the history after it: a run cut off between the two repeats one epoch. The mean comes
    last, so that no epoch counts twice in it.
    """
    falls_next = 0 < loop.cooldown_epochs == loop.epochs - progress.epoch
    wanted = {CHECKPOINT: True, BEST: progress.history[-1]["best"], HELD: falls_next}
    for name in (name for name, is_wanted in wanted.items() if is_wanted):
        with atomic_path(run / name) as temporary:
            model.save(temporary)
    _write_history(progress.history, run)
    if progress.epoch > loop.epochs - loop.averaged_epochs:
        add_epoch(run, model.get_weights())


def _shared_past(recipe: Recipe, start: Path) -> tuple[list[dict[str, Any]], Path]:
    """The epochs that ``recipe`` has in common with the run in ``start``, and the checkpoint at their end."""
    if not (start / CONFIG).is_file() or not (start / HISTORY).is_file():
        raise InputError(f"{start}: no run to start from: it holds no {CONFIG} and {HISTORY}")
    other, history = load_recipe(start / CONFIG), _read_history(start / HISTORY)
    held = other.loop.held_epochs
    if len(history) > held and not other.loop.cooldown_epochs:
        raise ConfigError(
            f"{start}: no run to start from: its rate has been falling since epoch {held + 1}, as its "
            "loop.cooldown_epochs is 0; choose a run that held its rate, or train without --from"
        )
    checkpoint = start / (HELD if len(history) >= held and other.loop.cooldown_epochs else CHECKPOINT)
    history = history[:held]
    if not history:
        raise InputError(f"{start}: no run to start from: it has done no whole epoch")
    if not checkpoint.is_file():
        raise InputError(f"{start}: no run to start from: it holds no {checkpoint.name}")
    check_model_file(checkpoint)
    if not _same_past(recipe, other, len(history)):
        raise ConfigError(
            f"{start}: its first {len(history)} epochs were not trained as this recipe says: all but epochs, "
            "cooldown_epochs, averaged_epochs, the name, and the sizes, precision and teacher of what follows must be "
            "the same"
        )
    if recipe.loop.averaged_epochs > recipe.loop.epochs - len(history):
        raise ConfigError(
            f"{start}: has done {len(history)} of {recipe.loop.epochs} epochs, so that the mean of the last "
            f"{recipe.loop.averaged_epochs} cannot be had: lower loop.averaged_epochs, or raise loop.epochs"
        )
    last = len(history) - 1
    return [{**line, "best": index == last} for index, line in enumerate(history)], checkpoint


def _same_past(recipe: Recipe, other: Recipe, epochs: int) -> bool:
    """Whether both recipes do the same in their first ``epochs`` epochs, in which ``other`` holds its rate."""

    def timeless(which: Recipe) -> Recipe:
        loop = structs.replace(
            which.loop, epochs=MOST, cooldown_epochs=0, averaged_epochs=0, sizes=(48,), size_changes=()
        )
        loop = structs.replace(loop, precision="float32", precision_from=0)
        return structs.replace(which, name="", loop=loop, targets=TargetSettings())

    return (
        timeless(recipe) == timeless(other)
        and recipe.loop.held_epochs >= epochs
        and all(
            recipe.loop.size_at(epoch) == other.loop.size_at(epoch)
            and recipe.loop.precision_at(epoch) == other.loop.precision_at(epoch)
            and recipe.targets.at(epoch) == other.targets.at(epoch)
            for epoch in range(epochs)
        )
    )


def _read_history(path: Path) -> list[dict[str, Any]]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{**line, "best": bool(line["best"]), "val_accuracy": float(line["val_accuracy"])} for line in lines]
    except KeyError as error:
        raise InputError(f"{path}: cannot go on from it: a line has no {error}") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot go on from it: {error}") from None


def _write_history(history: list[dict[str, Any]], run: Path) -> None:
    write_text_atomically(run / HISTORY, "".join(json.dumps(line) + "\n" for line in history))
