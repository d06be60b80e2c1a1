"""Fine-tuning: start from the weights of a trained network (``model.weights``)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_edge.errors import ModelError
from fer_edge.types import Float32Array
from fer_train.networks.model_files import load_model
from fer_train.training.run_folder.files import labels_of_run, model_file

log = logging.getLogger(__name__)


def first_weights(path: Path, model: Any, labels: Sequence[str]) -> list[Float32Array]:
    """Return the initial weights of ``model``, a Keras model for ``labels``, in the order of its weights.

    ``path`` is a ``.keras`` file or the folder of a run. If its labels differ, the last layer's weights are left out.

    Raises:
        InputError: if the file does not exist.
        ModelError: if it contains another network.
    """
    file = model_file(path)
    given: list[Float32Array] = load_model(file).get_weights()
    own: list[Float32Array] = model.get_weights()
    learned = labels_of_run(file)
    body = len(own) - len(model.layers[-1].weights)
    new_labels = learned is not None and learned != tuple(labels)
    if new_labels or (len(given) == len(own) and given[-1].shape != own[-1].shape):
        log.info("%s: has other labels; the last layer starts from random weights", path)
        given, own = given[:body], own[:body]
    if [array.shape for array in given] != [array.shape for array in own]:
        raise ModelError(
            f"{path}: another network than the recipe's: its weights are {_summary(given)}, wanted {_summary(own)}; "
            "make the [model] of both the same (a RepVGG network's are in best.keras)"
        )
    return given


def _summary(weights: Sequence[Float32Array]) -> str:
    return f"{len(weights)} arrays of {sum(array.size for array in weights):,} numbers"
