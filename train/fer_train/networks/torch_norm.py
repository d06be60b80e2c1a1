"""BatchNormalization for training on PyTorch: one fused kernel instead of Keras 3.15's many operations.

On two CPU cores a training step takes 0.74 to 0.95 of the time (train/RESULTS.md). The final
model contains Keras' own layer. Checkpoints contain this one, which on other backends computes as Keras' own, so that a
run can be resumed there.
"""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="fer_train")
class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras' layer for [N, H, W, C], with the same variables.

    The running variance is PyTorch's unbiased estimate, n / (n - 1) times Keras', for n pixels in the batch.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize float32 [N, H, W, C]; in training by the batch, which also updates the running statistics."""
        # PyTorch refuses one value per channel, which a last batch of one image can have.
        too_few = inputs.shape[0] == 1 and inputs.shape[1:3] == (1, 1)
        if keras.backend.backend() != "torch" or not training or not self.trainable or too_few:
            return super().call(inputs, training=training, mask=mask)
        import torch

        # A permuted view, not a copy: PyTorch takes NCHW with the strides of NHWC as its "channels last" format.
        return torch.nn.functional.batch_norm(
            inputs.permute(0, 3, 1, 2),
            self.moving_mean.value.data,
            self.moving_variance.value.data,
            self.gamma.value,
            self.beta.value,
            training=True,
            momentum=1 - self.momentum,
            eps=self.epsilon,
        ).permute(0, 2, 3, 1)
