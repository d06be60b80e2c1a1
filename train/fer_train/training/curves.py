"""Learning curves as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fer_edge.system.files import atomic_path
from fer_train.splits import SPLIT_NAMES


def draw_curves(history: Sequence[dict[str, float]], path: Path, splits: Sequence[str] = SPLIT_NAMES) -> None:
    """Draw loss and accuracy by epoch; ``splits`` are the names of the training and validation splits."""
    training, validation, *_ = splits
    epochs = [line["epoch"] for line in history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    for axes, key, name in ((loss, "loss", "Cross-entropy loss"), (accuracy, "accuracy", "Top-1 accuracy")):
        marker = "." if len(epochs) < 60 else None
        axes.plot(epochs, [line[key] for line in history], label=f"{training} (augmented)", marker=marker)
        axes.plot(epochs, [line[f"val_{key}"] for line in history], label=validation, marker=marker)
        axes.set(xlabel="epoch", title=name)
        # Otherwise a run of a few epochs would have ticks at 0.5 and 1.5.
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    best = next(line for line in reversed(history) if line["best"])
    accuracy.axhline(best["val_accuracy"], color="0.6", linestyle=":", linewidth=1)
    accuracy.set_title(f"Top-1 accuracy (best on {validation}: {best['val_accuracy']:.1%}, epoch {best['epoch']:.0f})")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
