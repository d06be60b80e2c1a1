"""Epochs on a GPU, in place of Keras' ``fit``; the Keras model has the weights and the state after each one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch

from fer_edge.types import Float32Array, UInt8Array
from fer_train.recipe.recipe import Recipe
from fer_train.training.callbacks import DivergedError
from fer_train.training.gpu.draws import draw_epoch
from fer_train.training.gpu.network import TorchNetwork, UnsupportedLayerError
from fer_train.training.gpu.steps import DeviceImages, DeviceTeacher, Steps
from fer_train.training.gpu.update import Update, update_for
from fer_train.training.inputs.batches import TrainingSet, class_weights
from fer_train.training.inputs.teacher import Teacher

log = logging.getLogger(__name__)

_VALIDATION_BATCH = 512


def usable_device() -> torch.device | None:
    """Return the GPU on which Keras computes, if its backend is PyTorch and there is one."""
    if keras.backend.backend() != "torch" or not torch.cuda.is_available():
        return None
    return torch.device("cuda")


class GpuEpochs:
    """The epochs of a run of ``recipe`` on ``device``."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self._recipe, self._device = recipe, device
        self._model: Any = None
        self._network: TorchNetwork
        self._update: Update
        self._data: tuple[TrainingSet, DeviceImages] | None = None
        self._teacher: tuple[Teacher, DeviceTeacher] | None = None
        self._steps: tuple[tuple[Any, ...], Steps] | None = None
        self._done = 0
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True

    @property
    def device_name(self) -> str:
        """The name of the GPU, such as "NVIDIA H200", or the type of another device."""
        kind: str = self._device.type
        return str(torch.cuda.get_device_name(self._device)) if kind == "cuda" else kind

    def use(self, model: Any, epoch: int) -> bool:
        """Train ``model``, compiled for ``epoch``, from now on; return False if it has a layer that is unknown here."""
        try:
            network = TorchNetwork(model, self._device, self._recipe.loop.precision_at(epoch))
        except UnsupportedLayerError as error:
            log.info("training by Keras' own loop, which takes longer on a GPU: %s", error)
            return False
        self._model, self._network = model, network
        self._update = update_for(network.trained, model.optimizer)
        for slots, variables in self._update.slots:
            network.read_slots(slots, variables)
        self._done = int(model.optimizer.iterations.numpy())
        self._steps = None
        log.info("training on %s", self.device_name)
        return True

    def train(self, epoch: int, training: TrainingSet, rate_factor: float) -> dict[str, float]:
        """Train ``epoch``, and return loss and accuracy on the augmented images.

        Raises:
            DivergedError: if the loss is not finite.
        """
        loop, augment = self._recipe.loop, self._recipe.augment
        torch.manual_seed(int(np.random.SeedSequence([loop.seed, epoch]).generate_state(1)[0]))
        draws = draw_epoch(len(training), loop.batch_size, augment, (loop.seed, epoch))
        steps = len(draws.rows)
        rates = np.array([loop.rate_at(epoch + step / steps) * rate_factor for step in range(steps)], np.float32)
        losses, right = self._steps_for(training, loop.size_at(epoch)).run(draws, self._update.rates(rates, self._done))
        if not np.isfinite(losses).all():
            first = int(np.flatnonzero(~np.isfinite(losses))[0])
            raise DivergedError(epoch, first, float(losses[first]))
        self._done += steps
        self._write()
        return {"loss": float(losses.mean()), "accuracy": right}

    def logits(self, images: UInt8Array) -> Float32Array:
        """Return the logits float32 [N, labels] of the network for uint8 [N, H, W]."""
        parts = np.array_split(images, max(1, -(-len(images) // _VALIDATION_BATCH)))
        with torch.no_grad():
            found = [self._network(torch.from_numpy(part)[:, None].to(self._device).float()) for part in parts]
        logits: Float32Array = torch.cat(found).cpu().numpy()
        return logits

    def _steps_for(self, training: TrainingSet, size: int) -> Steps:
        data, teacher = self._data_of(training), self._teacher_of(training.teacher)
        key = (data, teacher, size)
        if self._steps is None or self._steps[0] != key:
            smoothing = self._recipe.loop.label_smoothing
            steps = Steps(self._network, self._update, data, teacher, self._recipe.augment, size, smoothing)
            self._steps = key, steps
        return self._steps[1]

    def _data_of(self, training: TrainingSet) -> DeviceImages:
        if self._data is None or self._data[0].targets is not training.targets:
            labels = training.labels
            weights = class_weights(labels, training.targets.shape[1], self._recipe.loop.class_weights)[labels]
            if training.weights is not None:
                weights = weights * (training.weights / training.weights.mean())
            arrays: Sequence[Any] = (training.images, training.targets, weights.astype(np.float32))
            self._data = training, DeviceImages(*(torch.from_numpy(array).to(self._device) for array in arrays))
        return self._data[1]

    def _teacher_of(self, teacher: Teacher | None) -> DeviceTeacher | None:
        if teacher is None:
            return None
        if self._teacher is None or self._teacher[0] is not teacher:
            precision = self._recipe.loop.precision
            networks = [
                (TorchNetwork(network, self._device, precision), network.input_shape[1]) for network in teacher.networks
            ]
            self._teacher = teacher, DeviceTeacher(networks, teacher.share, teacher.mirrored)
        return self._teacher[1]

    def _write(self) -> None:
        """Give the Keras model the weights, and its optimizer the state, for the checkpoint."""
        self._network.write_weights()
        for slots, variables in self._update.slots:
            self._network.write_slots(slots, variables)
        self._model.optimizer.iterations.assign(self._done)
