"""The profile of a model: its layers, what each costs, and what the machine can do at most."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fer_bench.results.report import HostInfo
from fer_bench.results.section import Amount, Count, CountFrom1, Positive, Section, Text, json_schema

FORMAT = 1


class LayerTime(Section, frozen=True):
    """The time of one layer, or of several layers that were timed as one."""

    us: Annotated[float, Meta(description="Median of the differences, in microseconds. Noise can make it negative.")]
    noise_us: Annotated[Amount, Meta(description="Standard error of the median.")]
    layers: Annotated[CountFrom1, Meta(description="Number of layers: this one, and those directly before it.")] = 1

    @property
    def measured(self) -> bool:
        """Whether the time is more than twice its standard error."""
        return self.us > 2 * self.noise_us

    @property
    def max_us(self) -> float:
        """The largest time that noise allows."""
        return max(self.us, 0.0) + 2 * self.noise_us


class LayerProfile(Section, frozen=True):
    """One operator of a ``.tflite`` file that computes something from the input."""

    layer: Text
    operator: Text
    shape: Annotated[tuple[int, ...], Meta(description="Of the output.")]
    parameters: Count
    macs: Annotated[Count, Meta(description="Multiply-accumulates; 0 for an operator that is not a matrix product.")]
    weight_bytes: Count
    output_bytes: Annotated[Count, Meta(description="Bytes of the output activation.")]
    moved_bytes: Annotated[Count, Meta(description="Bytes of weights, inputs and output.")]
    live_bytes: Annotated[Count, Meta(description="Bytes of all activations that exist while it runs.")]
    time: Annotated[LayerTime | None, Meta(description="Null if it was timed as one with the next layer.")]


class KerasLayer(Section, frozen=True):
    """One layer of a Keras file."""

    layer: Text
    kind: Text
    shape: tuple[int | None, ...]
    parameters: Count
    macs: Count
    weight_bytes: Count


class Roof(Section, frozen=True):
    """What this machine can do at most, on one core."""

    int8_macs_per_s: Annotated[Positive, Meta(description="Measured with large int8 convolutions on LiteRT.")]
    copied_bytes_per_s: Annotated[Positive, Meta(description="Read and written when a large array is copied.")]

    def attainable(self, macs_per_byte: float) -> float:
        """Return the multiply-accumulates per second that the roofline model allows."""
        return min(self.int8_macs_per_s, macs_per_byte * self.copied_bytes_per_s)


class ModelProfile(Section, frozen=True):
    """One model: totals, layers, and for a Keras file its own layers."""

    model: Text
    variant: Annotated[Text, Meta(description="A variant of the bundle; float32 for a Keras file; tflite for a file.")]
    file_bytes: Count
    parameters: Count
    macs: Count
    weight_bytes: Count
    moved_bytes: Annotated[Count, Meta(description="Sum over the layers.")]
    peak_bytes: Annotated[Count, Meta(description="Largest sum of the activations that exist at the same time.")]
    peak_layer: Annotated[Text, Meta(description="The layer at which it occurs.")]
    time_us: Annotated[Positive, Meta(description="Median time of one inference.")]
    layers: Annotated[tuple[LayerProfile, ...], Meta(min_length=1)]
    keras_layers: Annotated[tuple[KerasLayer, ...], Meta(description="Empty if the model is not a Keras file.")] = ()

    @property
    def macs_per_s(self) -> float:
        """Multiply-accumulates per second."""
        return self.macs / self.time_us * 1e6

    @property
    def macs_per_byte(self) -> float:
        """Multiply-accumulates per byte moved."""
        return self.macs / max(self.moved_bytes, 1)


class ProfileReport(Section, frozen=True, tag_field="format", tag=FORMAT):
    """One run of ``fer-edge profile``: one model, or two that are compared."""

    host: HostInfo
    method: Annotated[Text, Meta(description="How the layers were timed.")]
    rounds: CountFrom1
    roof: Roof
    models: Annotated[tuple[ModelProfile, ...], Meta(min_length=1, max_length=2)]
    time_ratio: Annotated[
        Positive | None,
        Meta(description="Time of the second model relative to the first, measured alternately; null for one model."),
    ] = None


def profile_to_json(report: ProfileReport) -> str:
    """Return ``report`` as JSON text, as ``schema/profile.schema.json`` describes it."""
    return json.dumps(msgspec.to_builtins(report), indent=2) + "\n"


def profile_schema() -> dict[str, Any]:
    """Return the JSON Schema of a profile, the content of ``schema/profile.schema.json``."""
    return json_schema(ProfileReport, "Profile of fer-edge profile", "Times end in us, microseconds; _s is per second.")
