"""The folder of a training run: opened, resumed, started from another run's, and saved to after each epoch.

    config.toml       the resolved recipe            history.jsonl   one line an epoch
    checkpoint.keras  the latest epoch, resumable    best.keras      the epoch best on PublicTest
    data.json         the data sets that were learned, from which epoch on
    held.keras        the last epoch at full rate    curves.png      loss and accuracy by epoch
    model.keras       what is kept, for one fixed input  run.json    what it was trained on, by which code
    averaged.npz      the mean of the last epochs, if it is what is kept (``loop.averaged_epochs``)

``held.keras`` is there once the rate falls (``loop.cooldown_epochs``): a longer run starts from it.

An epoch is done when ``checkpoint.keras`` is renamed: that file also holds the history up to it. The other files of an
epoch are derived from it, and ``open_run`` and ``complete_epoch`` write again those that a killed run did not reach.
"""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from fer_edge.errors import ConfigError, InputError, ModelError, OutputError
from fer_edge.settings.base import to_table
from fer_edge.settings.toml_files import dump_toml
from fer_edge.system.files import atomic_path, remove_temporary_files, write_text_atomically
from fer_train.averaging import AVERAGED, add_epoch, read_mean
from fer_train.backend import check_model_file
from fer_train.config import MOST, RUN_CONFIG, LoopSettings, Recipe, TargetSettings, load_recipe
from fer_train.locks import FileLock

CHECKPOINT, BEST, HELD, MODEL = "checkpoint.keras", "best.keras", "held.keras", "model.keras"
CONFIG, HISTORY, RUN, CURVES = RUN_CONFIG, "history.jsonl", "run.json", "curves.png"
DATA, LOCK = "data.json", "run.lock"
STUDY = "study.db"
"""Tells the folder of a search (``fer_train.tuning``) from a run's: by default both are called by the recipe's name."""


_STATE = "fer_edge_history.json"
"""Member of a checkpoint's archive: the history up to its epoch. Keras reads only the members that it knows."""
_LOCK_WITHIN_S = 1.0
"""Longer than ``is_held`` holds a lock that it probes."""


@dataclass(frozen=True, slots=True)
class LearnedData:
    """The data set of a run: its name and the hash of its rows; ``allow_other`` accepts a change of it."""

    name: str
    rows_sha256: str
    allow_other: bool = False


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


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Create the folder ``run`` and hold its lock, so that no other process writes to it during this block.

    Deletes the temporary files that a killed run left there.

    Raises:
        InputError: if another process holds the lock.
        OutputError: if the folder cannot be written.
    """
    _make(run)
    lock = FileLock(run / LOCK)
    if not lock.take(_LOCK_WITHIN_S):
        raise InputError(in_use(run))
    try:
        remove_temporary_files(run, (CHECKPOINT, BEST, HELD, MODEL, CONFIG, HISTORY, RUN, CURVES, DATA, AVERAGED))
        yield
    finally:
        lock.release()


def in_use(run: Path) -> str:
    """Return the message for a folder that another process writes to."""
    return f"{run}: another process is training in this folder; wait until it ends, or choose another --out"


def open_run(
    recipe: Recipe, run: Path, *, resume: bool = False, start: Path | None = None, data: LearnedData | None = None
) -> Progress:
    """Create the folder ``run``, or check that the one there is this recipe's; then say how far it is.

    ``start`` is the folder of another run to begin a new one from, ``data`` what is about to be learned. Raises
    ConfigError when ``run`` holds another recipe, or a run and ``resume`` is off, or when ``start`` was trained
    differently so far; InputError when there is nothing to resume or to start from, or when the epochs so far were
    trained on other data; OutputError when the folder cannot be written.
    """
    progress, checkpoint = check_run(recipe, run, resume=resume, start=start, data=data)
    if not resume:
        _make(run)
        # A start that was killed before it wrote the recipe may have left them, from another run.
        for name in (CHECKPOINT, BEST, HELD, AVERAGED):
            (run / name).unlink(missing_ok=True)
    if checkpoint:
        _copy_checkpoint(checkpoint, run / CHECKPOINT, progress.history)
    if data:
        _write_data(run, _sets_learned(start or run, data, progress.epoch))
    _derive_files(run, progress, recipe.loop)
    # Last: a folder is a run from here on.
    if not resume:
        write_text_atomically(run / CONFIG, dump_toml(to_table(recipe)))
    return progress


def check_run(
    recipe: Recipe, run: Path, *, resume: bool, start: Path | None, data: LearnedData | None = None
) -> tuple[Progress, Path | None]:
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
        _check_data(run, data)
        return _resumed(run), None
    if resume:
        raise InputError(f"{run}: nothing to resume: it holds no {CONFIG}")
    history, checkpoint = _shared_past(recipe, start) if start else ([], None)
    if start:
        _check_data(start, data)
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
    if (run / CHECKPOINT).exists():
        return Progress(_history_of(run))
    history = _read_history(run / HISTORY) if (run / HISTORY).exists() else []
    if history:
        raise InputError(
            f"{run}: cannot resume: it has done {len(history)} epochs but holds no {CHECKPOINT}; "
            "start a new run from it with --from"
        )
    if (run / RUN).exists():
        raise InputError(f"{run}: cannot resume: it is the mean of runs; begin with it by --weights {run}")
    return Progress([])


def save_epoch(model: Any, run: Path, progress: Progress, loop: LoopSettings) -> None:
    """Save the epoch just added: it is done when the checkpoint, which holds its history, is renamed."""
    with atomic_path(run / CHECKPOINT) as temporary:
        model.save(temporary)
        _add_history(temporary, progress.history)
    _derive_files(run, progress, loop)
    if _epochs_in_mean(progress, loop):
        add_epoch(run, model.get_weights())


def complete_epoch(run: Path, progress: Progress, loop: LoopSettings) -> None:
    """Take the checkpoint's weights into the mean, if the run was killed before it did so. Needs Keras."""
    wanted = _epochs_in_mean(progress, loop)
    if not wanted or _read_state(run / CHECKPOINT) is None:
        return
    if (read_mean(run)[0] if (run / AVERAGED).exists() else 0) == wanted - 1:
        import keras

        add_epoch(run, keras.models.load_model(run / CHECKPOINT, compile=False).get_weights())


def learned_sets(run: Path) -> list[dict[str, Any]]:
    """Return the data sets that ``run`` learned: name, rows_sha256 and the first epoch of each; none if not recorded.

    Raises InputError when the record is damaged.
    """
    path = run / DATA
    if not path.exists():
        return []
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))["sets"]
        return [
            {"from_epoch": int(s["from_epoch"]), "name": str(s["name"]), "rows_sha256": str(s["rows_sha256"])}
            for s in sets
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the record of a run's data: {error}") from None


def _check_data(run: Path, data: LearnedData | None) -> None:
    before = learned_sets(run)[-1:]
    if data is None or data.allow_other or not before or before[0]["rows_sha256"] == data.rows_sha256:
        return
    raise InputError(
        f"{run}: was trained on other data: {before[0]['name']} with rows_sha256 {before[0]['rows_sha256'][:12]}, and "
        f"this is {data.name} with {data.rows_sha256[:12]}; give the same --data, or continue with --allow-other-data"
    )


def _sets_learned(past: Path, data: LearnedData, epochs: int) -> list[dict[str, Any]]:
    """The sets of the ``epochs`` that the run ``past`` has done, and ``data`` from there on."""
    sets = [each for each in learned_sets(past) if each["from_epoch"] <= epochs]
    if not sets or sets[-1]["rows_sha256"] != data.rows_sha256:
        sets.append({"from_epoch": epochs + 1, "name": data.name, "rows_sha256": data.rows_sha256})
    return sets


def _write_data(run: Path, sets: list[dict[str, Any]]) -> None:
    write_text_atomically(run / DATA, json.dumps({"sets": sets}, indent=2) + "\n")


def _make(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run}: cannot make this folder: {error.strerror}") from error


def _epochs_in_mean(progress: Progress, loop: LoopSettings) -> int:
    return max(0, progress.epoch - (loop.epochs - loop.averaged_epochs))


def _derive_files(run: Path, progress: Progress, loop: LoopSettings) -> None:
    """Write the files that follow from the checkpoint, unless they are its epoch's already."""
    state = _read_state(run / CHECKPOINT) if (run / CHECKPOINT).exists() else None
    if state is not None:  # checkpoints of earlier versions have none, and their other files are as they are
        falls_next = 0 < loop.cooldown_epochs == loop.epochs - progress.epoch
        wanted = {BEST: progress.history[-1]["best"], HELD: falls_next}
        for name in (name for name, is_wanted in wanted.items() if is_wanted):
            if not (run / name).exists() or _read_state(run / name) != state:
                with atomic_path(run / name) as temporary:
                    shutil.copyfile(run / CHECKPOINT, temporary)
    _write_history(progress.history, run)


def _copy_checkpoint(source: Path, target: Path, history: list[dict[str, Any]]) -> None:
    with atomic_path(target) as temporary:
        try:
            with zipfile.ZipFile(source) as old, zipfile.ZipFile(temporary, "w") as new:
                for member in old.infolist():
                    if member.filename != _STATE:
                        new.writestr(member, old.read(member))
        except (zipfile.BadZipFile, zlib.error) as error:
            raise ModelError(f"{source}: cannot begin from it: {error}") from None
        _add_history(temporary, history)


def _add_history(checkpoint: Path, history: list[dict[str, Any]]) -> None:
    with zipfile.ZipFile(checkpoint, "a") as archive:
        archive.writestr(_STATE, "".join(json.dumps(line) + "\n" for line in history))


def _history_of(run: Path) -> list[dict[str, Any]]:
    """The epochs that the checkpoint of ``run`` has done; history.jsonl is behind it if the run was killed."""
    state = _read_state(run / CHECKPOINT)
    return _read_history(run / HISTORY) if state is None else _parse_history(state, run / CHECKPOINT)


def _read_state(checkpoint: Path) -> str | None:
    """The history in a checkpoint; None for one of an earlier version."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.read(_STATE).decode() if _STATE in archive.namelist() else None
    except (OSError, zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        raise ModelError(f"{checkpoint}: cannot resume from it: {error}") from None


def _shared_past(recipe: Recipe, start: Path) -> tuple[list[dict[str, Any]], Path]:
    """The epochs that ``recipe`` has in common with the run in ``start``, and the checkpoint at their end."""
    if not (start / CONFIG).is_file() or not (start / HISTORY).is_file():
        raise InputError(f"{start}: no run to start from: it holds no {CONFIG} and {HISTORY}")
    other, history = load_recipe(start / CONFIG), _read_history(start / HISTORY)
    if (start / CHECKPOINT).is_file():
        history = _history_of(start)
    held = other.loop.held_epochs
    if len(history) > held and not other.loop.cooldown_epochs:
        raise ConfigError(
            f"{start}: no run to start from: its rate has been falling since epoch {held + 1}, as its "
            "loop.cooldown_epochs is 0; choose a run that held its rate, or train without --from"
        )
    checkpoint = start / (HELD if len(history) >= held and other.loop.cooldown_epochs else CHECKPOINT)
    if len(history) == held and not checkpoint.is_file():  # killed before it was copied
        checkpoint = start / CHECKPOINT
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
        return _parse_history(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot go on from it: {error}") from None


def _parse_history(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        lines = [json.loads(line) for line in text.splitlines()]
        return [{**line, "best": bool(line["best"]), "val_accuracy": float(line["val_accuracy"])} for line in lines]
    except KeyError as error:
        raise InputError(f"{path}: cannot go on from it: a line has no {error}") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot go on from it: {error}") from None


def _write_history(history: list[dict[str, Any]], run: Path) -> None:
    write_text_atomically(run / HISTORY, "".join(json.dumps(line) + "\n" for line in history))
