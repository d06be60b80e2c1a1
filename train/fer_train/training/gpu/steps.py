"""The steps of an epoch on a device: augment, ask the teachers, train. On CUDA, one step is recorded and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fer_edge.types import Float32Array
from fer_train.recipe.augmentation import AugmentSettings
from fer_train.training.gpu.augmentation import blend, degrade, erase, jitter, warp
from fer_train.training.gpu.draws import Draws
from fer_train.training.gpu.network import TorchNetwork
from fer_train.training.gpu.update import Update

_WARM_UP = 3
"""Steps before the recording, in which cuDNN chooses its algorithms and PyTorch allocates its memory."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceImages:
    """Training images on the device: uint8 [N, H, W], targets float32 [N, labels], weights in the loss [N]."""

    images: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DeviceTeacher:
    """Networks whose mean probabilities are ``share`` of the targets; they take images of ``side`` pixels."""

    networks: Sequence[tuple[TorchNetwork, int]]
    share: float
    mirrored: bool

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mean probabilities [B, labels] for ``images`` [B, 1, S, S]."""
        views = torch.cat([images, images.flip(3)]) if self.mirrored else images
        found = []
        for network, side in self.networks:
            scaled = views
            if views.shape[-1] != side:
                scaled = functional.interpolate(views, (side, side), mode="bilinear", antialias=True)
            found.extend(torch.softmax(network(scaled), dim=1).split(len(images)))
        return torch.stack(found).mean(dim=0)


@dataclass(frozen=True, slots=True, eq=False)
class DeviceLoss:
    """Cross-entropy, as ``fer_train.training.loss`` computes it, with ``adjustments`` [labels] on the device."""

    adjustments: torch.Tensor
    label_smoothing: float

    def of_images(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss [B] of each image, for logits and targets [B, labels]."""
        smooth = targets * (1 - self.label_smoothing) + self.label_smoothing / targets.shape[1]
        return -(smooth * torch.log_softmax(logits - self.adjustments, dim=1)).sum(dim=1)


class Steps:
    """Steps of one kind: of one network, image size, batch size and teacher."""

    def __init__(
        self,
        network: TorchNetwork,
        update: Update,
        data: DeviceImages,
        teacher: DeviceTeacher | None,
        settings: AugmentSettings,
        size: int,
        loss: DeviceLoss,
    ) -> None:
        self._network, self._update, self._data, self._teacher = network, update, data, teacher
        self._settings, self._size, self._loss = settings, size, loss
        self._device = data.images.device
        self._graph: Any = None
        self._draws: dict[str, torch.Tensor] = {}

    def run(self, draws: Draws, rates: Float32Array) -> tuple[Float32Array, float]:
        """Train on each batch of ``draws``; return each step's loss [S], and the share of images that were right.

        Args:
            draws: The random numbers of the epoch.
            rates: What the update reads in each step, float32 [S, 2].
        """
        self._load(draws, rates)
        steps = len(draws.rows)
        if self._device.type == "cuda":
            self._run_recorded(steps)
        else:
            for _ in range(steps):
                self._step()
        losses: Float32Array = self._draws["losses"].cpu().numpy()
        return losses, float(self._draws["right"].item()) / draws.rows.size

    def _load(self, draws: Draws, rates: Float32Array) -> None:
        """Copy the numbers of the epoch into the tensors that a step reads, which stay in their places."""
        arrays = {name: getattr(draws, name) for name in Draws.__dataclass_fields__}
        arrays |= {
            "rates": rates,
            "losses": np.zeros(len(rates), np.float32),
            "right": np.zeros((), np.int64),
            "step": np.zeros(1, np.int64),
        }
        for name, array in arrays.items():
            given = torch.from_numpy(array)
            if name in self._draws and self._draws[name].shape == given.shape:
                self._draws[name].copy_(given)
            else:
                self._draws[name] = given.to(self._device)
                self._graph = None

    def _run_recorded(self, steps: int) -> None:
        done = 0
        if self._graph is None:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                while done < min(_WARM_UP, steps):
                    self._step()
                    done += 1
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._step()
        for _ in range(done, steps):
            self._graph.replay()

    def _step(self) -> None:
        """Train on the batch of the step that ``step`` counts, and add 1 to it. Only tensors' contents change."""
        at = self._draws["step"]

        def now(name: str) -> torch.Tensor:
            return self._draws[name].index_select(0, at)[0]

        with torch.no_grad():
            inputs, targets, weights = self._batch(now)
        logits = self._network(inputs, training=True)
        loss = (self._loss.of_images(logits, targets) * weights).mean()
        gradients = torch.autograd.grad(loss, self._update.tensors)
        with torch.no_grad():
            self._update.step(gradients, now("rates"))
            self._draws["losses"].index_copy_(0, at, loss.detach()[None])
            self._draws["right"] += (logits.argmax(dim=1) == targets.argmax(dim=1)).sum()
            at += 1

    def _batch(self, now: Callable[[str], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return images [B, 1, S, S], targets [B, labels] and weights [B] of a step, whose numbers ``now`` returns."""
        settings, rows = self._settings, now("rows")
        images = warp(self._data.images.index_select(0, rows), now("affine"), self._size)
        if settings.erase_probability:
            images = erase(images, now("erased"))
        images = jitter(images, now("contrast"), now("brightness"))
        targets = self._data.targets.index_select(0, rows)
        if settings.mixup_alpha or settings.cutmix_alpha:
            images, targets = blend(images, targets, now("partner"), now("share"), now("pasted"))
        if self._teacher is not None:
            targets = targets + self._teacher.share * self._teacher.probabilities(images)
        if settings.blur or settings.noise:
            images = degrade(images, now("sigma"), now("noise"), settings.blur)
        return images, targets, self._data.weights.index_select(0, rows)
