"""Write the results of a search: ``tune.csv``, ``tune.md``, ``tune.png`` and the recipe ``best.toml``."""

from __future__ import annotations

import csv
import io
import json

from fer_edge.settings.base import to_table
from fer_edge.settings.toml_files import dump_toml
from fer_edge.system.files import write_bytes_atomically, write_text_atomically
from fer_train.tuning.picture import draw
from fer_train.tuning.results import BEST, Results, find_results, shown
from fer_train.tuning.settings import Search
from fer_train.tuning.storage import StudyLocation
from fer_train.tuning.trials import TRIALS

CSV, MARKDOWN, PICTURE = "tune.csv", "tune.md", "tune.png"


def write_results(location: StudyLocation, search: Search) -> Results:
    """Write all result files of the search, replacing earlier ones. Raises InputError and OutputError."""
    found, out = find_results(location, search), location.out
    write_text_atomically(out / CSV, _csv(found))
    write_text_atomically(out / MARKDOWN, _markdown(found))
    if found.best is not None:
        table = dump_toml(to_table(search.best_recipe(found.best.values)))
        write_text_atomically(out / BEST, f"# The best of {found.counts()}.\n# {found.headline()}.\n{table}")
    if any(row.value is not None for row in found.rows):
        write_bytes_atomically(out / PICTURE, draw(found.rows, search))
    return found


def _csv(found: Results) -> str:
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


def _markdown(found: Results) -> str:
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
            f"`{TRIALS}/NNNN/config.toml` is the recipe of trial NNNN, `{BEST}` that of the best, with all epochs.",
            "",
        ]
    )
