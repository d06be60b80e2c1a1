"""Profile a ``.tflite`` file: costs of its layers, and their measured times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fer_bench.profile.costs import layers_of
from fer_bench.profile.graph import read_graph
from fer_bench.profile.timing import time_layers
from fer_bench.results.profile import KerasLayer, LayerProfile, ModelProfile
from fer_edge.errors import ModelError


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to profile: the names to show, its ``.tflite`` file, and the layers of the Keras file that it is from."""

    model: str
    variant: str
    path: Path
    keras_layers: tuple[KerasLayer, ...] = ()

    @property
    def title(self) -> str:
        """The model with its variant."""
        return f"{self.model}, {self.variant}"


def profile(subject: Subject, rounds: Iterable[int]) -> ModelProfile:
    """Return the profile of ``subject``. Raises ModelError if its file is refused."""
    graph = read_graph(subject.path)
    layers = layers_of(graph)
    if not layers:
        raise ModelError(f"{subject.path}: no operator depends on the input: there is nothing to time")
    content = subject.path.read_bytes()
    times = time_layers(content, graph, layers, rounds, str(subject.path))
    weights = {index for layer in layers for index in layer.weights}
    largest = max(layers, key=lambda layer: layer.live_bytes)
    return ModelProfile(
        model=subject.model,
        variant=subject.variant,
        file_bytes=len(content),
        parameters=sum(graph.elements(index) for index in weights),
        macs=sum(graph.macs(layer.operator) for layer in layers),
        weight_bytes=sum(graph.tensors[index].bytes for index in weights),
        moved_bytes=sum(layer.moved_bytes for layer in layers),
        peak_bytes=largest.live_bytes,
        peak_layer=largest.name,
        time_us=times.total_us,
        keras_layers=subject.keras_layers,
        layers=tuple(
            LayerProfile(
                layer=layer.name,
                operator=layer.operator.name,
                shape=graph.tensors[layer.operator.outputs[0]].shape,
                parameters=layer.parameters,
                macs=graph.macs(layer.operator),
                weight_bytes=layer.weight_bytes,
                output_bytes=sum(graph.tensors[index].bytes for index in layer.operator.outputs),
                moved_bytes=layer.moved_bytes,
                live_bytes=layer.live_bytes,
                time=time,
            )
            for layer, time in zip(layers, times.layers, strict=True)
        ),
    )
