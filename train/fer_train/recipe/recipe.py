"""A training recipe: msgspec structs, decoded from one TOML file; each key has a default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from fer_edge.errors import ConfigError
from fer_edge.settings.base import Settings, decode, require
from fer_edge.settings.toml_files import read_toml
from fer_train.recipe.augmentation import AugmentSettings
from fer_train.recipe.data import DataSettings
from fer_train.recipe.loop import LoopSettings
from fer_train.recipe.model import ModelSettings, Vgg16Settings
from fer_train.recipe.targets import TargetSettings
from fer_train.recipe.tracking import TrackingSettings

RUN_CONFIG = "config.toml"
"""Name of the file in a run's folder that contains its recipe with all defaults."""


class Recipe(Settings, frozen=True):
    """All settings of a training run; only the images are elsewhere."""

    name: Annotated[str, Meta(description="Name of the run and of the bundle converted from it.")] = "unnamed"
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    targets: TargetSettings = TargetSettings()
    loop: LoopSettings = LoopSettings()
    tracking: Annotated[
        TrackingSettings | None, Meta(description="Not set: the run is recorded in its folder alone.")
    ] = None

    def _check(self) -> None:
        require(
            self.targets.teacher_from < self.loop.epochs,
            "targets.teacher_from must be below loop.epochs, or the teacher is never used",
        )
        require(
            self.data.size in (DataSettings().size, self.loop.sizes[-1]),
            f"data.size is {self.data.size}, but loop.sizes ends with {self.loop.sizes[-1]}: they must be the same",
        )


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. The table ``[tune]``, which is not part of a run, is ignored.

    Raises:
        ConfigError: if a key or a value is not allowed. The message names the file, the key's path, what is allowed and
            what was given.
    """
    table = {key: value for key, value in read_toml(path).items() if key != "tune"}
    return decode(Recipe, table, str(path))


def with_weights(recipe: Recipe, weights: str) -> Recipe:
    """Return ``recipe`` with other initial weights.

    Raises:
        ConfigError: if its network cannot start from them.
    """
    if not weights:
        raise ConfigError("--weights: must be imagenet, none or a path")
    if recipe.model.uses_vgg16:
        own = replace(recipe.model.vgg16 or Vgg16Settings(), weights=weights)
        return replace(recipe, model=replace(recipe.model, vgg16=own))
    if weights == "imagenet":
        raise ConfigError(
            f"--weights imagenet is for architecture 'vgg16'; the recipe's is {recipe.model.architecture!r}, which "
            "takes none or a path"
        )
    return replace(recipe, model=replace(recipe.model, weights="" if weights == "none" else weights))
