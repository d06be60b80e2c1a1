"""The learning curves of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_train.training.curves import draw_curves


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_epochs_are_whole_numbers(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Axes] = []
    save = Figure.savefig

    def remember(figure: Figure, *arguments: object, **options: object) -> None:
        save(figure, *arguments, **options)
        drawn.extend(figure.axes)

    monkeypatch.setattr(Figure, "savefig", remember)
    line = {"loss": 1.0, "val_loss": 1.1, "accuracy": 0.4, "val_accuracy": 0.5, "best": True}
    draw_curves([{**line, "epoch": epoch + 1} for epoch in range(count)], tmp_path / "curves.png")
    assert len(drawn) == 2
    for axes in drawn:
        assert axes.get_xlabel() == "epoch"
        assert all(float(tick).is_integer() for tick in axes.get_xticks())
