"""The loss of training: cross-entropy with soft targets, whose logits can be adjusted for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from fer_edge.errors import ConfigError
from fer_edge.types import Float32Array
from fer_train.recipe.loop import LoopSettings


def adjustments_of(loop: LoopSettings, labels: Sequence[str]) -> Float32Array:
    """Return ``loop.logit_adjustments`` for each of ``labels``, float32 [labels]; 0 where none is given.

    Raises:
        ConfigError: if one is for a label that the data set does not have.
    """
    for name in loop.logit_adjustments:
        if name not in labels:
            raise ConfigError(f"loop.logit_adjustments: no label {name!r}; the labels are {', '.join(labels)}")
    return np.array([loop.logit_adjustments.get(name, 0.0) for name in labels], np.float32)


@keras.saving.register_keras_serializable(package="fer_train")
class AdjustedCrossentropy(keras.losses.CategoricalCrossentropy):  # type: ignore[misc]
    """Cross-entropy of soft targets with the softmax of logits minus ``adjustments`` [labels].

    Source: Menon et al., 2020, arXiv:2007.07314, equation 10.
    """

    def __init__(self, adjustments: Sequence[float], label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(**{**options, "from_logits": True, "label_smoothing": label_smoothing})
        self._adjustments = [float(each) for each in adjustments]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss [N] of targets and logits [N, labels]."""
        return super().call(y_true, y_pred - keras.ops.convert_to_tensor(self._adjustments, y_pred.dtype))

    def get_config(self) -> dict[str, Any]:
        """As Keras: what the constructor takes, so that a checkpoint with this loss can be loaded."""
        return {**super().get_config(), "adjustments": self._adjustments}
