"""``[tune]`` of a recipe: the length of a search, its ranges, and the recipe of each trial. Does not import Optuna."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import random
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fer_edge.errors import ConfigError
from fer_edge.settings.base import Settings, decode, require, to_table
from fer_edge.settings.toml_files import read_toml
from fer_train.recipe.recipe import Recipe, load_recipe
from fer_train.recipe.targets import TargetSettings
from fer_train.recipe.values import MAX_COUNT, Count, Seed

MOST_TRIALS = 10_000
"""More than an SQLite file, and a sampler that reads all trials, can handle well."""
_MOST_COMBINATIONS = 512
"""Combinations of the ranges' ends that are checked before a search; of more, a random sample with each end in it."""

Trials = Annotated[int, Meta(ge=1, le=MOST_TRIALS)]
Values = dict[str, Any]
"""A value of each range, by its key: bool, int, float, str, or a list of these."""


class TuneSettings(Settings, frozen=True):
    """How to search; ``[tune.ranges]`` next to these keys contains the ranges: see ``Search``."""

    trials: Trials = 30
    """Number of trials; one that was interrupted and continued counts once."""
    epochs: Count = 0
    """Epochs of each trial; 0: those of the recipe. ``best.toml`` has the recipe's again."""
    metric: Literal["accuracy", "cross_entropy"] = "accuracy"
    """Trials are compared by this metric of their best epoch on PublicTest. ``accuracy`` also selects the best epoch of
    a run. ``cross_entropy`` is smoother, but label smoothing, mixup and a teacher affect it directly."""
    seed: Seed = 1
    """Seed of the choice of values; the training of each trial is seeded by ``loop.seed``."""
    pruner: Literal["median", "none"] = "median"
    """``median``: a trial ends after an epoch in which its best value so far is worse than the median of the finished
    trials in that epoch."""
    startup_trials: Trials = 5
    """Number of trials that must be finished before one is pruned, and of trials with random values before the sampler
    (TPE) learns from them."""
    grace_epochs: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 2
    """Epochs in which a trial is never pruned; in most recipes the first is warm-up."""
    keep: Trials = 3
    """Number of best trials whose networks are kept; of the others only settings, history and curves are."""


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers from ``low`` to ``high``, both included. ``whole``: only whole numbers, as the key is one."""

    low: float
    high: float
    step: float | None = None
    """Distance between neighbouring values. None: 1 for whole numbers; other numbers have no grid."""
    log: bool = False
    """Draw on a logarithmic scale."""
    whole: bool = False

    def __post_init__(self) -> None:
        numbers = (self.low, self.high, self.step or 1)
        require(all(map(math.isfinite, numbers)), "low, high and step must be finite")
        require(self.low < self.high, f"low must be below high, and {self.low!r} is not below {self.high!r}")
        require(not self.log or self.low > 0, "log needs a low above 0")
        require(not self.log or self.step is None, "log and step exclude each other")
        if self.step is None:
            return
        require(self.step > 0, "step must be above 0")
        steps = (self.high - self.low) / self.step
        require(
            round(steps) >= 1 and math.isclose(steps, round(steps)), "high minus low must be a number of whole steps"
        )

    def ends(self) -> list[Any]:
        """Return the extreme values: if a recipe accepts these, it accepts all between them."""
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        """Return whether the number ``value`` is one of these."""
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and math.isclose(steps, round(steps), abs_tol=1e-9)


@dataclass(frozen=True, slots=True)
class Choices:
    """One of several values; a list is the value of a key that takes a list."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        inner = [each for value in self.values for each in (value if isinstance(value, list) else [value])]
        plain = all(isinstance(each, bool | int | float | str) for each in inner)
        require(plain, "choices must be numbers, strings, true or false, or lists of these")
        # Compared as text: in Python true equals 1, but here they are different choices.
        differ = len({json.dumps(value) for value in self.values}) == len(self.values)
        require(differ and len(self.values) >= 2, "choices must be two or more that differ")

    def ends(self) -> list[Any]:
        """Return all values: each must be accepted."""
        return list(self.values)

    def holds(self, value: Any) -> bool:
        """Return whether ``value`` is one of these."""
        return value in self.values

    def names(self) -> list[Any]:
        """Return the study's name of each value: its text for a list, which Optuna cannot store."""
        return [json.dumps(value) if isinstance(value, list) else value for value in self.values]


@dataclass(frozen=True, slots=True)
class Search:
    """A recipe, how to search, and the ranges by the recipe's keys, such as ``loop.learning_rate``."""

    recipe: Recipe
    settings: TuneSettings
    ranges: dict[str, Span | Choices]

    def trial_recipe(self, values: Values, number: int) -> Recipe:
        """Return the recipe of trial ``number``. Raises ConfigError if the values are not allowed together."""
        return self._recipe(values, f"{self.recipe.name}-{number:04}", self.settings.epochs)

    def best_recipe(self, values: Values) -> Recipe:
        """Return the recipe with ``values`` and all of its epochs. Raises ConfigError as ``trial_recipe`` does."""
        return self._recipe(values, f"{self.recipe.name}-tuned", 0)

    def targets(self) -> list[TargetSettings]:
        """Return one ``[targets]`` of each kind that trials can have: with and without votes, with each teacher."""
        found = (self.trial_recipe(values, 1).targets for values in _combinations(self.ranges))
        return list({(bool(each.crowd), each.teacher_labels, each.teacher_models): each for each in found}.values())

    def own_values(self) -> Values | None:
        """Return the recipe's own values, for comparison; None if one of them is outside of its range."""
        values: Values = {}
        for key, each in self.ranges.items():
            inner: Any = to_table(self.recipe)
            for part in key.split("."):
                inner = inner.get(part) if isinstance(inner, Mapping) else None
            if inner is None or not each.holds(inner):
                return None
            values[key] = inner
        return values

    def to_table(self) -> dict[str, Any]:
        """Return the tables from which ``from_table`` creates an equal search."""
        ranges = {key: _without_none(dataclasses.asdict(each)) for key, each in self.ranges.items()}
        return {**to_table(self.recipe), "tune": {**msgspec.structs.asdict(self.settings), "ranges": ranges}}

    def _recipe(self, values: Values, name: str, epochs: int) -> Recipe:
        table = to_table(self.recipe)
        table["name"] = name
        shown = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
        if epochs:
            table["loop"]["epochs"] = epochs
            shown += f", tune.epochs = {epochs}"
        for key, value in values.items():
            *path, last = key.split(".")
            inner = table
            for part in path:
                inner = inner.setdefault(part, {})
            inner[last] = copy.copy(value)
        return decode(Recipe, table, f"with {shown}")


def load_search(path: Path, recipe: Recipe | None = None) -> Search:
    """Return the search in a recipe's file; ``recipe`` replaces the file's own, if given.

    Raises:
        ConfigError: if the file has no ``[tune]``, if a range is of an unknown key or has the wrong type, or if the
            recipe refuses a value. The message names the key.
    """
    table = read_toml(path)
    recipe = recipe or load_recipe(path)
    if "tune" not in table:
        raise ConfigError(f"{path}: has no [tune]; list the settings to search in its table [tune.ranges]")
    return _parse(recipe, table["tune"], str(path))


def from_table(table: Mapping[str, Any], where: str) -> Search:
    """Return the search from ``table``, made by ``Search.to_table``. Raises ConfigError as ``load_search`` does."""
    own = {key: value for key, value in table.items() if key != "tune"}
    tune = {**table["tune"], "ranges": {key: _as_written(each) for key, each in table["tune"]["ranges"].items()}}
    return _parse(decode(Recipe, own, where), tune, where)


def _parse(recipe: Recipe, tune: Any, where: str) -> Search:
    if not isinstance(tune, Mapping):
        raise ConfigError(f"{where}: tune must be a table, not {tune!r}")
    settings = decode(_Tune, {"tune": {k: v for k, v in tune.items() if k != "ranges"}}, where).tune
    ranges = tune.get("ranges", {})
    if not isinstance(ranges, Mapping) or not ranges:
        raise ConfigError(f'{where}: tune.ranges must name what to search, as in "loop.learning_rate" = {{ … }}')
    if settings.epochs and "loop.epochs" in ranges:
        raise ConfigError(f"{where}: tune.epochs and a range of loop.epochs exclude each other")
    search = Search(recipe, settings, {key: _range(key, each, where) for key, each in ranges.items()})
    _check_values(search, where)
    return search


class _Tune(Settings, frozen=True):
    """Wrapper that adds ``tune`` to the key paths in error messages."""

    tune: TuneSettings = TuneSettings()


class _SpanTable(Settings, frozen=True):
    """The keys of a range of numbers. It only checks them: the caller reads the numbers unconverted."""

    low: float = math.nan
    high: float = math.nan
    step: float | None = None
    log: bool = False


def _range(key: str, table: Any, where: str) -> Span | Choices:
    where_key = f'{where}: tune.ranges."{key}"'
    kind = _kind_of(key, where)
    if not isinstance(table, Mapping) or not table:
        raise ConfigError(f"{where_key} must be a table, as {{ low = 1, high = 2 }} or {{ choices = [1, 2] }}")
    try:
        if "choices" in table:
            if len(table) > 1 or not isinstance(table["choices"], list):
                raise ConfigError(f"{where_key}: choices must be a list, and the only key")
            return Choices(tuple(table["choices"]))
        if kind not in (int, float):
            raise ConfigError(f"{where_key}: is not a number; give {{ choices = [ … ] }}")
        written = decode(_SpanTable, table, where_key)
        if "low" not in table or "high" not in table:
            raise ConfigError(f"{where_key}: needs low and high, or choices")
        given = {name: table.get(name) for name in ("low", "high", "step")}
        if kind is int and any(isinstance(number, float) for number in given.values()):
            raise ConfigError(f"{where_key}: low, high and step must be whole numbers here")
        if kind is float:
            given = {name: number if number is None else float(number) for name, number in given.items()}
        return Span(**typing.cast(Any, given), log=written.log, whole=kind is int)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where_key}: {error}") from None


def _kind_of(key: str, where: str) -> Any:
    """Return the type of the recipe's key, such as float for ``loop.learning_rate``."""
    kind: Any = Recipe
    if key == "loop.averaged_epochs":
        raise ConfigError(f"{where}: tune.ranges: {key} cannot be searched: trials are compared by their best epoch")
    for part in key.split("."):
        if not _is_table(kind):
            raise ConfigError(f"{where}: tune.ranges: the recipe has no {key}")
        hints = typing.get_type_hints(kind)
        searchable = [name for name in hints if kind is not Recipe or name not in ("name", "data")]
        if part not in searchable:
            raise ConfigError(f"{where}: tune.ranges: {key!r} cannot be searched; {part} is not one of {searchable}")
        kind = hints[part]
        if typing.get_origin(kind) is types.UnionType:
            kind = next(each for each in typing.get_args(kind) if each is not type(None))
    if _is_table(kind):
        raise ConfigError(
            f'{where}: tune.ranges: {key} is a table; name a key in it, in quotes: "{key}.…" = {{ low = …, high = … }}'
        )
    return kind


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _check_values(search: Search, where: str) -> None:
    """Build recipes with the ends of all ranges, so that a bad range is refused before the first trial."""
    for values in _combinations(search.ranges):
        try:
            _try(search, values)
        except ConfigError as error:
            _blame_one(search, values, where)
            raise ConfigError(f"{where}: tune.ranges: {error}") from None


def _blame_one(search: Search, values: Values, where: str) -> None:
    """Raise for the first of ``values`` that is refused on its own; return if only the combination is."""
    for key, value in values.items():
        try:
            _try(search, {key: value})
        except ConfigError as error:
            raise ConfigError(f"{where}: tune.ranges: {error}") from None


def _try(search: Search, values: Values) -> None:
    search.trial_recipe(values, 1)
    search.best_recipe(values)


def _combinations(ranges: Mapping[str, Span | Choices]) -> Iterator[Values]:
    ends = {key: each.ends() for key, each in ranges.items()}
    if math.prod(len(each) for each in ends.values()) <= _MOST_COMBINATIONS:
        for chosen in itertools.product(*ends.values()):
            yield dict(zip(ends, chosen, strict=True))
        return
    draw = random.Random(0)
    longest = max(len(each) for each in ends.values())
    for number in range(max(longest, _MOST_COMBINATIONS)):
        if number < longest:
            yield {key: each[number % len(each)] for key, each in ends.items()}
        else:
            yield {key: draw.choice(each) for key, each in ends.items()}


def _as_written(table: Mapping[str, Any]) -> dict[str, Any]:
    if "values" in table:
        return {"choices": list(table["values"])}
    return {key: value for key, value in table.items() if key != "whole"}


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}
