"""The mean of a run's weights over its last epochs (``loop.averaged_epochs``; Izmailov et al., arXiv:1803.05407).

While the rate is high, the weights move around a better point than the end of any epoch; their mean is closer to it.
The running statistics of BatchNorm do not fit the mean weights, and are computed again: see ``renew_norm``.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.system.files import atomic_path
from fer_train.training.run_folder.files import AVERAGED


def add_epoch(run: Path, weights: list[npt.NDArray[Any]]) -> None:
    """Add ``weights``, float32 arrays of a model at an epoch's end, to the mean in the folder ``run``.

    Raises:
        InputError: if the mean is damaged or belongs to another model.
    """
    epochs, mean = read_mean(run) if (run / AVERAGED).exists() else (0, weights)
    if [array.shape for array in mean] != [array.shape for array in weights]:
        raise InputError(f"{run / AVERAGED}: the mean of another network's weights; start a new run")
    mean = [before + (array - before) / (epochs + 1) for before, array in zip(mean, weights, strict=True)]
    with atomic_path(run / AVERAGED) as temporary, temporary.open("wb") as file:
        np.savez(file, np.int64(epochs + 1), *mean)


def read_mean(run: Path) -> tuple[int, list[npt.NDArray[Any]]]:
    """Return the number of epochs in the mean in the folder ``run``, and the mean.

    Raises:
        InputError: if it is damaged.
    """
    path = run / AVERAGED
    try:
        with np.load(path, allow_pickle=False) as file:
            epochs, *mean = (file[f"arr_{index}"] for index in range(len(file.files)))
            return int(epochs), mean
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not the mean of a run's weights: {error}") from None
