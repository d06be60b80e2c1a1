"""Plot a search: the best value by trial, and the settings of all trials as parallel coordinates."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from fer_train.tuning.results import Row
from fer_train.tuning.settings import Choices, Search, Span

_MARKS = {"done": ("o", "tab:blue"), "pruned": ("x", "0.5"), "diverged": ("v", "tab:red"), "failed": ("v", "tab:red")}


def draw(rows: Sequence[Row], search: Search) -> bytes:
    """Return a PNG. ``rows`` are the trials by number; one or more must have a value."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(8.0, 2.2 + 1.7 * len(search.ranges)), 9), layout="constrained")
    FigureCanvasAgg(figure)
    history, parallel = figure.subplots(2, 1, height_ratios=(2, 3))
    _draw_history(history, rows, search)
    _draw_parallel(figure, parallel, rows, search)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


def _metric(search: Search) -> str:
    return search.settings.metric.replace("_", "-") + f" on {search.recipe.data.split_names[1]}"


def _draw_history(axes: Any, rows: Sequence[Row], search: Search) -> None:
    for state, (marker, colour) in _MARKS.items():
        of_state = [row for row in rows if row.state == state and row.value is not None]
        if of_state:
            numbers = [row.number for row in of_state]
            axes.scatter(numbers, [row.value for row in of_state], marker=marker, color=colour, label=state, zorder=3)
    done = [row for row in rows if row.state == "done" and row.value is not None]
    if done:
        better = np.maximum if search.settings.metric == "accuracy" else np.minimum
        values = better.accumulate(np.array([row.value for row in done], dtype=np.float64))
        numbers = [*(row.number for row in done), rows[-1].number]
        axes.step(numbers, [*values, values[-1]], where="post", color="tab:orange", label="best so far")
    axes.set(xlabel="trial", ylabel=_metric(search), title=f"{search.recipe.name}: best epoch of each trial")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_parallel(figure: Any, axes: Any, rows: Sequence[Row], search: Search) -> None:
    """Draw every trial as a line through its settings, each on its own vertical scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    drawn = [row for row in rows if row.value is not None and row.values]
    values = [row.value for row in drawn if row.state == "done"] or [row.value for row in drawn]
    lowest, highest = min(v for v in values if v is not None), max(v for v in values if v is not None)
    colours = ScalarMappable(Normalize(lowest, highest if highest > lowest else lowest + 1e-6), "viridis")
    sign = 1 if search.settings.metric == "accuracy" else -1
    for row in sorted(drawn, key=lambda row: (row.state == "done", sign * (row.value or 0.0))):
        heights = [_height(each, row.values[key]) for key, each in search.ranges.items()]
        done = row.state == "done"
        axes.plot(
            heights,
            color=colours.to_rgba(np.array(row.value)) if done else "0.8",
            linewidth=2 if done else 1,
            linestyle="-" if done else "--",
            marker=".",
        )
    for place, each in enumerate(search.ranges.values()):
        axes.axvline(place, color="0.4", linewidth=1)
        for height, text in _ticks(each):
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}
            at = {"xytext": (5, 0), "textcoords": "offset points", "fontsize": 8, "va": "center"}
            axes.annotate(text, (place, height), bbox=box, **at)
    axes.set(
        xlim=(-0.2, len(search.ranges) - 0.4), ylim=(-0.06, 1.06), yticks=[], title="settings (dashed: not completed)"
    )
    axes.set_xticks(range(len(search.ranges)), [key.replace(".", ".\n", 1) for key in search.ranges])
    figure.colorbar(colours, ax=axes, label=_metric(search))


def _height(each: Span | Choices, value: Any) -> float:
    """Return the position of ``value`` in its range: 0 is the lowest, 1 the highest."""
    if isinstance(each, Choices):
        return each.values.index(value) / (len(each.values) - 1)
    scale = np.log if each.log else float
    return float((scale(value) - scale(each.low)) / (scale(each.high) - scale(each.low)))


def _ticks(each: Span | Choices) -> list[tuple[float, str]]:
    if isinstance(each, Choices):
        return [(_height(each, value), str(value)) for value in each.values]
    marks = (np.geomspace if each.log else np.linspace)(each.low, each.high, 5)
    return [(float(place), f"{mark:.3g}") for place, mark in zip(np.linspace(0, 1, 5), marks, strict=True)]
