"""Create, check, resume and save a run's folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from fer_edge.errors import ConfigError, InputError, OutputError
from fer_edge.settings.base import to_table
from fer_edge.settings.toml_files import dump_toml
from fer_edge.system.files import atomic_path, remove_temporary_files, write_text_atomically
from fer_train.locks import FileLock
from fer_train.recipe.loop import LoopSettings
from fer_train.recipe.recipe import Recipe, load_recipe
from fer_train.training.run_folder.files import (
    AVERAGED,
    BEST,
    CHECKPOINT,
    CONFIG,
    CURVES,
    DATA,
    HELD,
    HISTORY,
    LOCK,
    MODEL,
    RUN,
    STUDY,
    LearnedData,
    learned_sets,
    now_utc,
    started_at,
    write_data,
)
from fer_train.training.run_folder.history import (
    Progress,
    add_state,
    copy_checkpoint,
    history_of,
    read_history,
    read_state,
    write_history,
)
from fer_train.training.run_folder.mean_weights import add_epoch, read_mean
from fer_train.training.run_folder.start import shared_past

_LOCK_WITHIN_S = 1.0
"""Longer than ``is_held`` holds a lock that it probes."""


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
    """Create the folder ``run``, or check that the existing one belongs to this recipe; return its progress.

    Args:
        recipe: The recipe of the run.
        run: Its folder.
        resume: Whether to continue the run in the folder.
        start: The folder of another run to start from.
        data: The data set that will be used.

    Raises:
        ConfigError: if ``run`` contains a run of another recipe, or a run and ``resume`` is off, or if the epochs of
            ``start`` were trained by other settings.
        InputError: if there is nothing to resume or to start from, or if the epochs so far used other data.
        OutputError: if the folder cannot be written.
    """
    progress, checkpoint = check_run(recipe, run, resume=resume, start=start, data=data)
    if not resume:
        _make(run)
        # A process that was killed before it wrote the recipe may have left these, from another run.
        for name in (CHECKPOINT, BEST, HELD, AVERAGED):
            (run / name).unlink(missing_ok=True)
    if checkpoint:
        copy_checkpoint(checkpoint, run / CHECKPOINT, progress.history)
    if data:
        sets = _sets_learned(start or run, data, progress.epoch)
        write_data(run, sets, started_at(run) if resume else now_utc())
    _derive_files(run, progress, recipe.loop)
    # Last: a folder is a run from here on.
    if not resume:
        write_text_atomically(run / CONFIG, dump_toml(to_table(recipe)))
    return progress


def check_run(
    recipe: Recipe, run: Path, *, resume: bool, start: Path | None, data: LearnedData | None = None
) -> tuple[Progress, Path | None]:
    """Make the checks of ``open_run`` without any change; return progress and the checkpoint to copy, if any.

    Needs no Keras, so that mistakes are reported at once.

    Raises:
        ConfigError, InputError: as ``open_run``.
    """
    config = run / CONFIG
    if (run / STUDY).exists():
        raise ConfigError(f"{run}: holds a search, not a run; choose another --out")
    if config.exists():
        if not resume:
            raise ConfigError(f"{run}: already contains a run; continue with --resume, or choose another --out")
        if replace(load_recipe(config), tracking=None) != replace(recipe, tracking=None):
            raise ConfigError(f"{run}: holds a run of another recipe ({config} differs); choose another --out")
        _check_data(run, data)
        return _resumed(run), None
    if resume:
        raise InputError(f"{run}: nothing to resume: it holds no {CONFIG}")
    history, checkpoint = shared_past(recipe, start) if start else ([], None)
    if start:
        _check_data(start, data)
    return Progress(history), checkpoint


def _resumed(run: Path) -> Progress:
    """Return the progress of a run. A run stopped in its first epoch has neither checkpoint nor history.

    Raises:
        InputError: if the run has done epochs but contains no checkpoint.
    """
    if (run / CHECKPOINT).exists():
        return Progress(history_of(run))
    history = read_history(run / HISTORY) if (run / HISTORY).exists() else []
    if history:
        raise InputError(
            f"{run}: cannot resume: it has done {len(history)} epochs but holds no {CHECKPOINT}; "
            "start a new run from it with --from"
        )
    if (run / RUN).exists():
        raise InputError(f"{run}: cannot resume: it is the mean of runs; start from its weights with --weights {run}")
    return Progress([])


def save_epoch(model: Any, run: Path, progress: Progress, loop: LoopSettings) -> None:
    """Save the last epoch of ``progress``: it is done when the checkpoint, which contains the history, is renamed."""
    with atomic_path(run / CHECKPOINT) as temporary:
        model.save(temporary)
        add_state(temporary, progress.history)
    _derive_files(run, progress, loop)
    if _epochs_in_mean(progress, loop):
        add_epoch(run, model.get_weights())


def complete_epoch(run: Path, progress: Progress, loop: LoopSettings) -> None:
    """Add the checkpoint's weights to the mean, if the run was killed before it did so. Needs Keras."""
    wanted = _epochs_in_mean(progress, loop)
    if not wanted or read_state(run / CHECKPOINT) is None:
        return
    if (read_mean(run)[0] if (run / AVERAGED).exists() else 0) == wanted - 1:
        import keras

        add_epoch(run, keras.models.load_model(run / CHECKPOINT, compile=False).get_weights())


def _check_data(run: Path, data: LearnedData | None) -> None:
    before = learned_sets(run)[-1:]
    if data is None or data.allow_other or not before or before[0]["rows_sha256"] == data.rows_sha256:
        return
    raise InputError(
        f"{run}: was trained on other data: {before[0]['name']} with rows_sha256 {before[0]['rows_sha256'][:12]}, and "
        f"this is {data.name} with {data.rows_sha256[:12]}; give the same --data, or continue with --allow-other-data"
    )


def _sets_learned(past: Path, data: LearnedData, epochs: int) -> list[dict[str, Any]]:
    """Return the sets of the first ``epochs`` epochs, those of the run ``past``, then ``data``."""
    sets = [each for each in learned_sets(past) if each["from_epoch"] <= epochs]
    if not sets or sets[-1]["rows_sha256"] != data.rows_sha256:
        sets.append({"from_epoch": epochs + 1, "name": data.name, "rows_sha256": data.rows_sha256})
    return sets


def _make(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run}: cannot make this folder: {error.strerror}") from error


def _epochs_in_mean(progress: Progress, loop: LoopSettings) -> int:
    return max(0, progress.epoch - (loop.epochs - loop.averaged_epochs))


def _derive_files(run: Path, progress: Progress, loop: LoopSettings) -> None:
    """Write the files derived from the checkpoint, unless they already belong to its epoch."""
    state = read_state(run / CHECKPOINT) if (run / CHECKPOINT).exists() else None
    if state is not None:  # checkpoints of earlier versions have none; their other files stay unchanged
        falls_next = 0 < loop.cooldown_epochs == loop.epochs - progress.epoch
        wanted = {BEST: progress.history[-1]["best"], HELD: falls_next}
        for name in (name for name, is_wanted in wanted.items() if is_wanted):
            if not (run / name).exists() or read_state(run / name) != state:
                with atomic_path(run / name) as temporary:
                    shutil.copyfile(run / CHECKPOINT, temporary)
    write_history(progress.history, run)
