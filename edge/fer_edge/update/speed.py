"""Median times of two models on this device.

``python -m fer_edge.update.speed FOLDER FOLDER VARIANT INTERPRETER`` prints both in milliseconds. It measures in a
separate process, since a model may crash the interpreter.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from fer_edge.errors import ModelError
from fer_edge.model.bundle import DEFAULT_BUNDLE, load_bundle
from fer_edge.model.trial import MAX_TRIAL_S, limit_this_process, run_apart
from fer_edge.stages.classification import EmotionClassifier

_ROUNDS = 30
_MAX_S = 2 * MAX_TRIAL_S


def measure(old: Path | None, new: Path, variant: str, interpreter: str) -> tuple[float, float]:
    """Return the median time of a classification by ``old`` (None: the bundle in the package) and by ``new``, in ms.

    Raises:
        ModelError: If a model crashes or hangs.
    """
    words = (str(old or DEFAULT_BUNDLE), str(new), variant, interpreter)
    code, printed = run_apart(__name__, words, new, "the measurement of its time", _MAX_S)
    try:
        old_ms, new_ms = map(float, printed.split())
    except ValueError:
        raise ModelError(f"{new}: refused: its time could not be measured: exit code {code}") from None
    return old_ms, new_ms


def _measure(folders: tuple[Path, ...], variant: str, interpreter: str) -> list[float]:
    models = []
    for folder in folders:
        with load_bundle(folder) as bundle:
            models.append(EmotionClassifier(bundle, variant, interpreter=interpreter))
    crops = [np.zeros((model.crop_spec.height, model.crop_spec.width), np.uint8) for model in models]
    times: list[list[float]] = [[] for _ in models]
    for _ in range(_ROUNDS):  # in turn, so that other load affects both
        for model, crop, taken in zip(models, crops, times, strict=True):
            start = time.perf_counter()
            model.logits(crop)
            taken.append(1000 * (time.perf_counter() - start))
    return [median(taken) for taken in times]


if __name__ == "__main__":
    limit_this_process(_MAX_S)
    found = _measure((Path(sys.argv[1]), Path(sys.argv[2])), sys.argv[3], sys.argv[4])
    os.write(1, " ".join(f"{value:.4f}" for value in found).encode())
    os._exit(0)
