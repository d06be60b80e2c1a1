"""Foreign models: the first blocks of networks of ``keras.applications`` with a new head.

The networks have random weights. BatchNorm's statistics are taken from the miniature data, and the head is the best
linear fit to its labels, which classifies nearly all images correctly. A conversion with wrong channels, range or order
does not. Complete networks would take minutes, and are too deep for int8 without training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.images.resample import resample
from fer_train.data.dataset import TRAINING, Dataset

Images = npt.NDArray[np.float32]


def with_head(base: Any, cut: str, dataset: Dataset, scale: Callable[[Images], Images], order: list[int]) -> Any:
    """Return ``base`` up to the layer ``cut``, then a softmax over the labels of ``dataset`` in the order ``order``.

    ``scale`` is the preprocessing that belongs to ``base``: of float32 [N, H, W, 3], 0..255.
    """
    import keras

    features = keras.Model(
        base.input, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(base.get_layer(cut).output))
    )
    for layer in features.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    side = base.input_shape[1]
    training = dataset.splits[TRAINING]
    grey = np.stack([resample(image, side, side) for image in training.images]).astype(np.float32)
    pictures = scale(np.repeat(grey[..., np.newaxis], 3, axis=-1))
    features(pictures, training=True)
    found = np.asarray(features.predict(pictures, verbose=0))
    mean, spread = found.mean(axis=0), found.std(axis=0) + 1e-3
    known = (found - mean) / spread
    wanted = np.eye(len(order))[np.argsort(order)[training.labels]] * 2 - 1
    weights = 5 * np.linalg.solve(known.T @ known + np.eye(known.shape[1]), known.T @ wanted)
    head = keras.layers.Dense(len(order), activation="softmax", name="predictions")
    model = keras.Model(features.input, head(features.output))
    head.set_weights([weights / spread[:, np.newaxis], -(mean / spread) @ weights])
    return model
