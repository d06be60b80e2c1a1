"""What a search found: ``tune.csv`` and ``tune.md`` with all trials, ``tune.png``, and ``best.toml`` to train by."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.settings.base import to_table
from fer_edge.settings.toml_files import dump_toml
from fer_edge.system.files import write_bytes_atomically, write_text_atomically
from fer_edge.system.messages import printable
from fer_train.run_folder import STUDY
from fer_train.tuning.picture import draw
from fer_train.tuning.settings import Search, Values
from fer_train.tuning.study_file import open_study, storage_errors
from fer_train.tuning.trials import TRIALS, latest_attempts, ranked, values_of

BEST, CSV, MARKDOWN, PICTURE = "best.toml", "tune.csv", "tune.md", "tune.png"
_ENOUGH = 10
"""Complete trials before the importance of settings is told: it compares the best tenth with all."""


@dataclass(frozen=True, slots=True)
class Row:
    """One trial: ``state`` is done, pruned, diverged, failed, running or waiting; ``value`` its best epoch's metric."""

    number: int
    state: str
    value: float | None
    epochs: int
    best_epoch: int | None
    minutes: float | None
    reason: str
    values: Values


@dataclass(frozen=True, slots=True)
class Found:
    """All trials, by number; ``importance`` of each setting, summing to 1, where there are enough to tell."""

    search: Search
    rows: list[Row]
    best: Row | None
    importance: dict[str, float]
    out: Path

    @property
    def done(self) -> int:
        """Trials that came to an end of some kind."""
        return sum(row.state not in ("running", "waiting") for row in self.rows)

    def text(self) -> str:
        """The end of the command: counts, the best and its settings, and where they are."""
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
            lines.append(f"the recipe as it is: trial 1, {own.value:.4f}")
        if not self.importance:
            lines.append(f"(the importance of settings is told from {_ENOUGH} completed trials on)")
        return "".join(f"{printable(line)}\n" for line in (*lines, str(self.out / BEST)))

    def counts(self) -> str:
        """How many trials, and what became of them."""
        states = ("done", "pruned", "diverged", "failed", "running", "waiting")
        counts = {state: sum(row.state == state for row in self.rows) for state in states}
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state in states[:2])
        left = counts["running"] + counts["waiting"]
        more = f"; {left} at work elsewhere or cut off: --resume goes on" if left else ""
        return f"{len(self.rows)} trials: {told}{more}"

    def headline(self) -> str:
        """The best trial in a few words."""
        if self.best is None or self.best.value is None:
            raise AssertionError("there is a best trial only with a value")
        metric = self.search.settings.metric.replace("_", "-")
        return (
            f"trial {self.best.number}, {metric} {self.best.value:.4f} on {self.search.recipe.data.split_names[1]}, "
            f"epoch {self.best.best_epoch} of {self.best.epochs}"
        )

    def _last_reason(self) -> str:
        reasons = [row.reason for row in self.rows if row.reason]
        return f"; the last one: {reasons[-1]}" if reasons else ""


def write_results(out: Path, search: Search) -> Found:
    """Write the files of the search in ``out`` anew, from its study. Raises InputError and OutputError."""
    found = _found(out, search)
    write_text_atomically(out / CSV, _csv(found))
    write_text_atomically(out / MARKDOWN, _markdown(found))
    if found.best is not None:
        table = dump_toml(to_table(search.best_recipe(found.best.values)))
        write_text_atomically(out / BEST, f"# The best of {found.counts()}.\n# {found.headline()}.\n{table}")
    if any(row.value is not None for row in found.rows):
        write_bytes_atomically(out / PICTURE, draw(found.rows, search))
    return found


def shown(value: Any) -> str:
    """A setting's value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _found(out: Path, search: Search) -> Found:
    with storage_errors(out / STUDY):
        study = open_study(out / STUDY)
        latest = latest_attempts(study)
        rows = [_row(attempt, search) for _, attempt in sorted(latest.items())]
        best = ranked(latest, search)[:1]
        importance = _importance(study, search) if len(ranked(latest, search)) >= _ENOUGH else {}
    number = best[0].user_attrs["number"] if best else None
    return Found(search, rows, next((row for row in rows if row.number == number), None), importance, out)


def _row(attempt: Any, search: Search) -> Row:
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
        number=attempt.user_attrs["number"],
        state=state,
        value=best,
        epochs=len(attempt.intermediate_values),
        best_epoch=next((epoch for epoch in sorted(reached) if reached[epoch] == best), None),
        minutes=minutes,
        reason=reason,
        values=values_of(attempt, search),
    )


def _importance(study: Any, search: Search) -> dict[str, float]:
    """By PED-ANOVA (Watanabe et al., arXiv:2304.10255), Optuna's own choice since its version 5."""
    import optuna

    found = optuna.importance.get_param_importances(study)
    return {key: found[key] for key in search.ranges if key in found}


def _csv(found: Found) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = ("trial", "state", found.search.settings.metric, "epochs", "best_epoch", "minutes", "reason")
    writer.writerow([*figures, *found.search.ranges])
    for row in found.rows:
        values = [row.values.get(key) for key in found.search.ranges]
        minutes = None if row.minutes is None else round(row.minutes, 2)
        writer.writerow(
            [row.number, row.state, row.value, row.epochs, row.best_epoch, minutes, row.reason]
            + [json.dumps(value) if isinstance(value, list) else value for value in values]
        )
    return text.getvalue()


def _markdown(found: Found) -> str:
    search, settings = found.search, found.search.settings
    keys = list(search.ranges)
    head = ["trial", "state", settings.metric.replace("_", "-"), "epochs", *(f"`{key}`" for key in keys)]
    lines = [f"# Search: {search.recipe.name}", "", f"{found.counts()}.", ""]
    if found.best is not None:
        _, validation, test = search.recipe.data.split_names
        lines += [
            f"Best: {found.headline()}. Trials were compared on {validation}, and the best of many is flattered by it:",
            f"the number to publish is that of a run of `best.toml` on {test}, looked at once.",
            "",
        ]
    if found.importance:
        lines += [
            "Importance of the settings (PED-ANOVA, of the completed trials): "
            + ", ".join(f"`{key}` {weight:.2f}" for key, weight in found.importance.items())
            + ".",
            "",
        ]
    lines += [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for row in found.rows:
        value = "" if row.value is None else f"{row.value:.4f}"
        cells = [str(row.number), row.state, value, str(row.epochs)]
        lines.append(f"| {' | '.join([*cells, *(shown(row.values.get(key, '')) for key in keys)])} |")
    reasons = [f"- trial {row.number} {row.state}: {row.reason}" for row in found.rows if row.reason]
    return "\n".join(
        [
            *lines,
            *(["", *reasons] if reasons else []),
            "",
            f"`{TRIALS}/NNNN/config.toml` is the recipe of each; `{BEST}` that of the best, with all its epochs.",
            "",
        ]
    )
