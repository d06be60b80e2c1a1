"""Convolution for training on PyTorch without the copies that Keras 3.15 makes.

Keras copies each input from NHWC to NCHW and back before PyTorch, which reads NHWC as its "channels last" format, gets
it: more than a tenth of a training step (train/RESULTS.md). As with ``torch_norm``, the kept model holds Keras'
own layer; checkpoints hold this one, which under another backend is Keras' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="fer_train")
class DirectConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """Keras' layer for [N, H, W, C], with the same variables; its results differ only in rounding."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve [N, H, W, C] by ``kernel`` [height, width, C / groups, filters], without bias and activation."""
        plain = self.data_format == "channels_last" and self.dilation_rate == (1, 1)
        if keras.backend.backend() != "torch" or not plain:
            return super().convolution_op(inputs, kernel)
        import torch

        # Views, not copies. The type is the layer's own: in a mixed policy the variable is float32.
        pixels = keras.ops.convert_to_tensor(inputs).permute(0, 3, 1, 2)
        weights = keras.ops.convert_to_tensor(kernel).to(pixels.dtype).permute(3, 2, 0, 1)
        padding = (0, 0)
        if self.padding == "same":
            (top, bottom), (left, right) = same_padding(pixels.shape[2:], self.kernel_size, self.strides)
            if (top, left) == (bottom, right):
                padding = (top, left)
            else:
                pixels = torch.nn.functional.pad(pixels, (left, right, top, bottom))
        weights = weights.contiguous(memory_format=torch.channels_last)
        found = torch.nn.functional.conv2d(pixels, weights, None, self.strides, padding, groups=self.groups)
        return found.permute(0, 2, 3, 1)


def same_padding(lengths: Sequence[int], kernels: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return the padding before and after each of ``lengths`` pixels for ``length / stride`` outputs, rounded up."""
    wholes = [
        max(0, (-(-length // stride) - 1) * stride + kernel - length)
        for length, kernel, stride in zip(lengths, kernels, strides, strict=True)
    ]
    return [(whole // 2, whole - whole // 2) for whole in wholes]
