"""Start a run from a shorter one of the same recipe (``fer-edge train --from``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import structs

from fer_edge.errors import ConfigError, InputError
from fer_train.networks.model_files import check_model_file
from fer_train.recipe.recipe import Recipe, load_recipe
from fer_train.recipe.targets import TargetSettings
from fer_train.recipe.values import MAX_COUNT
from fer_train.training.run_folder.files import CHECKPOINT, CONFIG, HELD, HISTORY
from fer_train.training.run_folder.history import history_of, read_history


def shared_past(recipe: Recipe, start: Path) -> tuple[list[dict[str, Any]], Path]:
    """Return the epochs that ``recipe`` shares with the run in ``start``, and the checkpoint at their end.

    Raises:
        ConfigError: if the run was trained by other settings.
        InputError: if the folder contains no run with a whole epoch.
    """
    if not (start / CONFIG).is_file() or not (start / HISTORY).is_file():
        raise InputError(f"{start}: no run to start from: it holds no {CONFIG} and {HISTORY}")
    other, history = load_recipe(start / CONFIG), read_history(start / HISTORY)
    if (start / CHECKPOINT).is_file():
        history = history_of(start)
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
            f"{recipe.loop.averaged_epochs} cannot be computed: lower loop.averaged_epochs, or raise loop.epochs"
        )
    last = len(history) - 1
    return [{**line, "best": index == last} for index, line in enumerate(history)], checkpoint


def _same_past(recipe: Recipe, other: Recipe, epochs: int) -> bool:
    """Return whether both recipes do the same in their first ``epochs`` epochs, before the rate of ``other`` falls."""

    def timeless(which: Recipe) -> Recipe:
        loop = structs.replace(
            which.loop, epochs=MAX_COUNT, cooldown_epochs=0, averaged_epochs=0, sizes=(48,), size_changes=()
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
