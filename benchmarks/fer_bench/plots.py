"""Figures and PNG files by matplotlib, without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_bench.extras import require
from fer_edge.system.files import atomic_path

_DPI = 120
BLUE, GREY, RED = "#2b6cb0", "#9aa5b1", "#c53030"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **layout: Any) -> tuple[Any, Any]:
    """Return a figure of ``width`` and ``height`` inches and its axes, without pyplot, which has global state.

    Raises MissingExtraError.
    """
    figure = require("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    require("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **layout)


def save_png(figure: Any, path: Path) -> None:
    """Write ``figure`` to ``path`` atomically. Raises OutputError."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)
