"""A Keras model's graph, computed by PyTorch: convolutions in NCHW ("channels last" in memory), no Keras call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import torch
from torch.nn import functional

from fer_train.networks.torch_conv import same_padding

Operation = Callable[[list[torch.Tensor], bool], torch.Tensor]
"""Computes a layer's output from its inputs; the flag is set in training."""

_CHANNELS_LAST = torch.channels_last


class UnsupportedLayerError(Exception):
    """The model has a layer, or a setting of one, that ``TorchNetwork`` does not compute."""


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A Keras variable and its copy on the device, whose axes are ``axes`` of the variable's."""

    variable: Any
    tensor: torch.Tensor
    axes: tuple[int, ...]


class TorchNetwork:
    """The network of a Keras model on ``device``; the convolutions compute in bfloat16 or float32.

    ``read_weights`` copies the Keras model's weights, ``write_weights`` copies them back.
    """

    def __init__(self, model: Any, device: torch.device, precision: str) -> None:
        """Translate the layers of ``model``, from float32 [N, H, W, 1] to logits, and copy its weights.

        Raises:
            UnsupportedLayerError: for a layer that is not known here.
        """
        self._device = device
        self._type = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self._parameters: dict[int, _Parameter] = {}
        self._steps: list[tuple[Operation, list[int], int]] = []
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise UnsupportedLayerError("several inputs or outputs")
        self._input, self._output = id(model.inputs[0]), id(model.outputs[0])
        for layer in model.layers:
            if isinstance(layer, keras.layers.InputLayer):
                continue
            if len(layer._inbound_nodes) != 1:
                raise UnsupportedLayerError(f"{layer.name} is used more than once")
            node = layer._inbound_nodes[0]
            inputs = [id(tensor) for tensor in node.input_tensors]
            self._steps.append((self._operation(layer), inputs, id(node.outputs[0])))
        self._trained = [self._parameters[id(variable)] for variable in model.trainable_variables]
        self.read_weights()
        for parameter in self._trained:
            parameter.tensor.requires_grad_()

    @property
    def trained(self) -> list[torch.Tensor]:
        """The tensors that training changes, in the order of the Keras model's trainable variables."""
        return [parameter.tensor for parameter in self._trained]

    def __call__(self, images: torch.Tensor, *, training: bool = False) -> torch.Tensor:
        """Return logits float32 [N, labels] for float32 [N, 1, H, W] in 0..255."""
        known = {self._input: images.to(memory_format=_CHANNELS_LAST)}
        for operation, inputs, output in self._steps:
            known[output] = operation([known[name] for name in inputs], training)
        return known[self._output]

    def read_weights(self) -> None:
        """Copy the weights of the Keras model to the device."""
        with torch.no_grad():
            for each in self._parameters.values():
                each.tensor.copy_(torch.from_numpy(keras.ops.convert_to_numpy(each.variable).copy()).permute(each.axes))

    def write_weights(self) -> None:
        """Copy the weights on the device to the Keras model."""
        for each in self._parameters.values():
            each.variable.assign(_as_keras(each.tensor, each.axes))

    def write_slots(self, slots: Sequence[torch.Tensor], variables: Sequence[Any]) -> None:
        """Copy ``slots``, an optimizer's tensors of the shapes of ``trained``, to its Keras ``variables``."""
        for parameter, slot, variable in zip(self._trained, slots, variables, strict=True):
            variable.assign(_as_keras(slot, parameter.axes))

    def read_slots(self, slots: Sequence[torch.Tensor], variables: Sequence[Any]) -> None:
        """Copy the Keras ``variables`` of an optimizer to ``slots``."""
        for parameter, slot, variable in zip(self._trained, slots, variables, strict=True):
            slot.copy_(torch.from_numpy(keras.ops.convert_to_numpy(variable).copy()).permute(parameter.axes))

    def _tensor(self, variable: Any, axes: tuple[int, ...] | None = None) -> torch.Tensor:
        axes = axes or tuple(range(len(variable.shape)))
        shape = [variable.shape[axis] for axis in axes]
        tensor = torch.zeros(shape, device=self._device)
        if len(shape) == 4:
            tensor = tensor.to(memory_format=_CHANNELS_LAST)
        self._parameters[id(variable)] = _Parameter(variable, tensor, axes)
        return tensor

    def _operation(self, layer: Any) -> Operation:
        layers = keras.layers
        known: dict[Any, Callable[[Any], Operation]] = {
            layers.Rescaling: self._rescaling,
            layers.DepthwiseConv2D: self._depthwise,
            layers.Conv2D: self._convolution,
            layers.BatchNormalization: self._normalization,
            layers.ReLU: self._relu,
            layers.Add: lambda _: lambda x, _training: sum(x[1:], start=x[0]),
            layers.MaxPooling2D: self._max_pooling,
            layers.GlobalAveragePooling2D: lambda _: lambda x, _training: x[0].float().mean(dim=(2, 3)),
            layers.Dropout: self._dropout,
            layers.Dense: self._dense,
        }
        for kind, make in known.items():
            if isinstance(layer, kind):
                return make(layer)
        raise UnsupportedLayerError(f"{layer.name} is a {type(layer).__name__}")

    def _rescaling(self, layer: Any) -> Operation:
        scale, offset, kind = float(layer.scale), float(layer.offset), self._type
        return lambda x, _training: (x[0] * scale + offset).to(kind)

    def _convolution(self, layer: Any) -> Operation:
        kernel = self._tensor(layer.kernel, (3, 2, 0, 1))
        return self._convolve(layer, kernel, layer.groups)

    def _depthwise(self, layer: Any) -> Operation:
        if layer.depth_multiplier != 1:
            raise UnsupportedLayerError(f"{layer.name} has a depth multiplier")
        # A depthwise kernel [height, width, channels, 1] as PyTorch's [channels, 1, height, width].
        kernel = self._tensor(layer.kernel, (2, 3, 0, 1))
        return self._convolve(layer, kernel, kernel.shape[0])

    def _convolve(self, layer: Any, kernel: torch.Tensor, groups: int) -> Operation:
        _check_linear(layer)
        if layer.padding != "same" or tuple(layer.dilation_rate) != (1, 1):
            raise UnsupportedLayerError(f"{layer.name} has padding {layer.padding!r} or dilation")
        bias = self._tensor(layer.bias) if layer.use_bias else None
        size, strides = layer.kernel_size, layer.strides

        def convolve(x: list[torch.Tensor], _training: bool) -> torch.Tensor:
            pixels = x[0]
            (top, bottom), (left, right) = same_padding(pixels.shape[2:], size, strides)
            padding = (top, left)
            if (top, left) != (bottom, right):
                pixels, padding = functional.pad(pixels, (left, right, top, bottom)), (0, 0)
            weights = kernel.to(pixels.dtype)
            offset = None if bias is None else bias.to(pixels.dtype)
            return functional.conv2d(pixels, weights, offset, strides, padding, groups=groups)

        return convolve

    def _normalization(self, layer: Any) -> Operation:
        if not (layer.center and layer.scale and layer.trainable) or layer.axis not in (-1, 3):
            raise UnsupportedLayerError(f"{layer.name} is frozen, or has no offset or scale")
        gamma, beta = self._tensor(layer.gamma), self._tensor(layer.beta)
        mean, variance = self._tensor(layer.moving_mean), self._tensor(layer.moving_variance)
        momentum, epsilon = 1 - layer.momentum, layer.epsilon

        def normalize(x: list[torch.Tensor], training: bool) -> torch.Tensor:
            return functional.batch_norm(x[0], mean, variance, gamma, beta, training, momentum, epsilon)

        return normalize

    def _relu(self, layer: Any) -> Operation:
        if layer.max_value is not None or layer.negative_slope or layer.threshold:
            raise UnsupportedLayerError(f"{layer.name} is not a plain ReLU")
        return lambda x, _training: functional.relu(x[0])

    def _max_pooling(self, layer: Any) -> Operation:
        size = tuple(layer.pool_size)
        if layer.padding != "same" or size != tuple(layer.strides) or size != (2, 2):
            raise UnsupportedLayerError(f"{layer.name} pools other than 2 x 2 pixels")
        # With this size, Keras' "same" pads an odd side by one pixel behind it, as ``ceil_mode`` does.
        return lambda x, _training: functional.max_pool2d(x[0], 2, ceil_mode=True)

    def _dropout(self, layer: Any) -> Operation:
        rate = float(layer.rate)
        return lambda x, training: functional.dropout(x[0], rate, training)

    def _dense(self, layer: Any) -> Operation:
        _check_linear(layer)
        kernel = self._tensor(layer.kernel, (1, 0))
        bias = self._tensor(layer.bias) if layer.use_bias else None
        return lambda x, _training: functional.linear(x[0].float(), kernel, bias)


def _check_linear(layer: Any) -> None:
    if getattr(layer.activation, "__name__", "linear") != "linear":
        raise UnsupportedLayerError(f"{layer.name} has an activation of its own")


def _as_keras(tensor: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Return ``tensor``, a copy of a variable whose axes are ``axes`` of it, with the variable's axes."""
    return tensor.detach().permute([axes.index(axis) for axis in range(len(axes))]).contiguous()
