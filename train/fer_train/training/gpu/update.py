"""Keras' optimizers for a recorded step: each rate is read from a tensor, so that a replay uses the next one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fer_edge.types import Float32Array

_MOMENTUM = 0.9
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7
"""Keras' own values of AdamW."""


class Update(ABC):
    """Changes ``tensors`` by their gradients as a Keras ``optimizer`` does, with its state in tensors."""

    def __init__(self, tensors: Sequence[torch.Tensor], optimizer: Any) -> None:
        self.tensors = list(tensors)
        self.decay = float(optimizer.weight_decay or 0.0)
        decays = [optimizer._use_weight_decay(variable) for variable in optimizer._trainable_variables]
        self.decayed = [tensor for tensor, decay in zip(tensors, decays, strict=True) if decay]

    @property
    @abstractmethod
    def slots(self) -> list[tuple[list[torch.Tensor], Sequence[Any]]]:
        """Each kind of state: the tensors, and Keras' variables of it."""

    @abstractmethod
    def rates(self, rates: Float32Array, first_step: int) -> Float32Array:
        """Return what ``step`` reads, float32 [S, 2], for the learning ``rates`` [S] of steps from ``first_step``."""

    @abstractmethod
    def step(self, gradients: Sequence[torch.Tensor], rates: torch.Tensor) -> None:
        """Change the tensors; ``rates`` [2] is a row of the method of that name."""

    def shrink(self, rate: torch.Tensor) -> None:
        """Apply the decoupled weight decay."""
        if self.decay:
            torch._foreach_mul_(self.decayed, 1 - rate * self.decay)


class SgdUpdate(Update):
    """SGD with Nesterov momentum, as ``keras.optimizers.SGD``."""

    def __init__(self, tensors: Sequence[torch.Tensor], optimizer: Any) -> None:
        super().__init__(tensors, optimizer)
        self._momenta = [torch.zeros_like(tensor) for tensor in tensors]
        self._variables = optimizer.momentums

    @property
    def slots(self) -> list[tuple[list[torch.Tensor], Sequence[Any]]]:
        """As above."""
        return [(self._momenta, self._variables)]

    def rates(self, rates: Float32Array, first_step: int) -> Float32Array:
        """As above: the rate, twice."""
        return np.stack([rates, rates], axis=1)

    def step(self, gradients: Sequence[torch.Tensor], rates: torch.Tensor) -> None:
        """As above."""
        self.shrink(rates[0])
        scaled = torch._foreach_mul(gradients, rates[0])
        torch._foreach_mul_(self._momenta, _MOMENTUM)
        torch._foreach_sub_(self._momenta, scaled)
        torch._foreach_add_(self.tensors, self._momenta, alpha=_MOMENTUM)
        torch._foreach_sub_(self.tensors, scaled)


class AdamWUpdate(Update):
    """AdamW, as ``keras.optimizers.AdamW``."""

    def __init__(self, tensors: Sequence[torch.Tensor], optimizer: Any) -> None:
        super().__init__(tensors, optimizer)
        self._means = [torch.zeros_like(tensor) for tensor in tensors]
        self._squares = [torch.zeros_like(tensor) for tensor in tensors]
        self._variables = optimizer._momentums, optimizer._velocities

    @property
    def slots(self) -> list[tuple[list[torch.Tensor], Sequence[Any]]]:
        """As above."""
        return [(self._means, self._variables[0]), (self._squares, self._variables[1])]

    def rates(self, rates: Float32Array, first_step: int) -> Float32Array:
        """As above: the rate, and the same with the correction of both means, which start at 0."""
        step = np.arange(first_step + 1, first_step + 1 + len(rates), dtype=np.float64)
        corrected = rates * np.sqrt(1 - _BETA_2**step) / (1 - _BETA_1**step)
        return np.stack([rates, corrected], axis=1).astype(np.float32)

    def step(self, gradients: Sequence[torch.Tensor], rates: torch.Tensor) -> None:
        """As above."""
        self.shrink(rates[0])
        torch._foreach_lerp_(self._means, gradients, 1 - _BETA_1)
        torch._foreach_lerp_(self._squares, torch._foreach_mul(gradients, gradients), 1 - _BETA_2)
        changes = torch._foreach_sqrt(self._squares)
        torch._foreach_add_(changes, _EPSILON)
        changes = torch._foreach_div(self._means, changes)
        torch._foreach_sub_(self.tensors, torch._foreach_mul(changes, rates[1]))


def update_for(tensors: Sequence[torch.Tensor], optimizer: Any) -> Update:
    """Return the update of a Keras ``optimizer``, which has been built for variables in the order of ``tensors``."""
    kind = SgdUpdate if type(optimizer).__name__ == "SGD" else AdamWUpdate
    return kind(tensors, optimizer)
