"""A frozen graph as a Keras layer, so that a foreign model can be handled as a Keras model."""

from __future__ import annotations

from typing import Any

import keras

from fer_convert.foreign.graph import FrozenGraph


class GraphLayer(keras.layers.Layer):  # type: ignore[misc]
    """Input float32 [N, H, W, C], output logits float32 [N, labels]; has no trainable weights."""

    def __init__(self, graph: FrozenGraph, labels: int) -> None:
        super().__init__(name="network", trainable=False)
        self._graph, self._labels = graph, labels

    def call(self, inputs: Any) -> Any:
        """Run the graph."""
        return self._graph(inputs)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, int]:
        """Return [N, labels]."""
        return (input_shape[0], self._labels)
