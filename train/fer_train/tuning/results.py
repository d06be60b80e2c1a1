"""Read the trials of a search as rows, and format the summary that is printed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.system.messages import printable
from fer_train.tuning.settings import Search, Values
from fer_train.tuning.storage import StudyLocation, open_study, storage_errors
from fer_train.tuning.trials import current_attempts, is_surplus, ranked, values_of

BEST = "best.toml"
_ENOUGH = 10
"""Completed trials that an estimate of importance needs: it compares the best tenth with all."""


@dataclass(frozen=True, slots=True)
class Row:
    """One trial. ``state``: done, pruned, diverged, failed, running or waiting. ``value``: the best epoch's metric."""

    number: int
    state: str
    value: float | None
    epochs: int
    best_epoch: int | None
    minutes: float | None
    reason: str
    values: Values


@dataclass(frozen=True, slots=True)
class Results:
    """All trials, by number. ``importance`` of the settings sums to 1; it is empty if too few trials are completed."""

    search: Search
    rows: list[Row]
    best: Row | None
    importance: dict[str, float]
    out: Path

    @property
    def done(self) -> int:
        """Number of trials that ended, in whatever state."""
        return sum(row.state not in ("running", "waiting") for row in self.rows)

    def text(self) -> str:
        """Return the summary that is printed: counts, the best trial and its settings, the path of ``best.toml``."""
        lines = [self.counts()]
        if self.best is None:
            return f"{lines[0]}\n{printable(f'no trial was completed{self._last_reason()}')}\n"
        lines.append(f"best: {self.headline()}")
        width = max(map(len, self.best.values))
        for key, value in self.best.values.items():
            weight = f"   importance {self.importance[key]:.2f}" if key in self.importance else ""
            lines.append(f"  {key:{width}}  {shown(value):12}{weight}".rstrip())
        own = next((row for row in self.rows if row.number == 1 and row.value is not None), None)
        if self.search.own_values() is not None and own is not None:
            lines.append(f"the unchanged recipe: trial 1, {own.value:.4f}")
        if not self.importance:
            lines.append(f"(the importance of settings is shown after {_ENOUGH} completed trials)")
        return "".join(f"{printable(line)}\n" for line in (*lines, str(self.out / BEST)))

    def counts(self) -> str:
        """Return the number of trials, in all and by state."""
        states = ("done", "pruned", "diverged", "failed", "running", "waiting")
        counts = {state: sum(row.state == state for row in self.rows) for state in states}
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state in states[:2])
        left = counts["running"] + counts["waiting"]
        more = f"; {left} still running elsewhere or interrupted: --resume continues" if left else ""
        return f"{len(self.rows)} trials: {told}{more}"

    def headline(self) -> str:
        """Return number, metric and epoch of the best trial, in one line."""
        if self.best is None or self.best.value is None:
            raise AssertionError("a best trial always has a value")
        metric = self.search.settings.metric.replace("_", "-")
        return (
            f"trial {self.best.number}, {metric} {self.best.value:.4f} on {self.search.recipe.data.split_names[1]}, "
            f"epoch {self.best.best_epoch} of {self.best.epochs}"
        )

    def _last_reason(self) -> str:
        reasons = [row.reason for row in self.rows if row.reason]
        return f"; the last one: {reasons[-1]}" if reasons else ""


def shown(value: Any) -> str:
    """Return a setting's value as short text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def find_results(location: StudyLocation, search: Search) -> Results:
    """Read all trials of the study. Raises InputError and OutputError for a study that cannot be read."""
    with storage_errors(location):
        study = open_study(location)
        current = current_attempts(study)
        rows = [_row(number, attempt, search) for number, attempt in current.items() if not is_surplus(attempt)]
        best = ranked(current, search)[:1]
        importance = _importance(study, search) if len(ranked(current, search)) >= _ENOUGH else {}
    by_number = {row.number: row for row in rows}
    return Results(search, rows, by_number[best[0]] if best else None, importance, location.out)


def _row(number: int, attempt: Any, search: Search) -> Row:
    better = max if search.settings.metric == "accuracy" else min
    reached = {epoch: value for epoch, value in attempt.intermediate_values.items() if math.isfinite(value)}
    best = better(reached.values(), default=None)
    state = {"COMPLETE": "done", "FAIL": "failed"}.get(attempt.state.name, attempt.state.name.lower())
    reason = attempt.user_attrs.get("reason", "")
    if state == "pruned" and reason:
        state = "diverged"
    if state == "failed" and not reason:
        reason = "its process ended each time: out of memory, or a crash of the backend"
    minutes = None if attempt.duration is None else attempt.duration.total_seconds() / 60
    return Row(
        number=number,
        state=state,
        value=best,
        epochs=len(attempt.intermediate_values),
        best_epoch=next((epoch for epoch in sorted(reached) if reached[epoch] == best), None),
        minutes=minutes,
        reason=reason,
        values=values_of(attempt, search),
    )


def _importance(study: Any, search: Search) -> dict[str, float]:
    """Return the importance by PED-ANOVA (Watanabe et al., arXiv:2304.10255), Optuna's default since version 5."""
    import optuna

    found = optuna.importance.get_param_importances(study)
    return {key: found[key] for key in search.ranges if key in found}
