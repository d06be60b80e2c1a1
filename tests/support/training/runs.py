"""Change the folder of a training run as an interruption does."""

from __future__ import annotations

import shutil
from pathlib import Path

from fer_train.training.run_folder.files import CHECKPOINT, HELD, HISTORY, MODEL, RUN


def cut_back(run: Path, epochs: int) -> None:
    """Leave ``run`` as if it had been stopped after its ``epochs`` epochs of full rate."""
    lines = (run / HISTORY).read_text().splitlines(keepends=True)
    (run / HISTORY).write_text("".join(lines[:epochs]))
    shutil.copy(run / HELD, run / CHECKPOINT)
    for name in (MODEL, RUN):
        (run / name).unlink()
