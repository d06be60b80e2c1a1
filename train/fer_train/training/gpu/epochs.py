"""Epochs on a GPU, in place of Keras' ``fit``; the Keras model has the weights and the state after each one."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

from fer_edge.types import Float32Array, UInt8Array
from fer_train.recipe.recipe import Recipe
from fer_train.training.callbacks import DivergedError
from fer_train.training.gpu.draws import draw_epoch
from fer_train.training.gpu.network import TorchNetwork, UnsupportedLayerError
from fer_train.training.gpu.steps import DeviceImages, DeviceLoss, DeviceTeacher, Steps
from fer_train.training.gpu.update import Update, update_for
from fer_train.training.inputs.batches import TrainingSet
from fer_train.training.inputs.teacher import Teacher

log = logging.getLogger(__name__)

_VALIDATION_BATCH = 512


def usable_device() -> torch.device | None:
    """Return the GPU, if there is one that PyTorch can use."""
    return torch.device("cuda") if torch.cuda.is_available() else None


class GpuEpochs:
    """The epochs of a run of ``recipe`` on ``device``; the loss adjusts the logits by ``adjustments`` [labels]."""

    def __init__(self, recipe: Recipe, device: torch.device, adjustments: Float32Array) -> None:
        self._recipe, self._device, self._adjustments = recipe, device, adjustments
        self._model: Any = None
        self._network: TorchNetwork
        self._update: Update
        self._data: tuple[TrainingSet, DeviceImages, DeviceTeacher | None] | None = None
        self._steps: tuple[TrainingSet, int, Steps] | None = None
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

        While ``training`` and the image size stay the same, nothing is copied or recorded again. PyTorch's global
        random state, which noise and Dropout use, is the caller's.

        Raises:
            DivergedError: if the loss is not finite.
        """
        loop, augment = self._recipe.loop, self._recipe.augment
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
        if self._steps is None or self._steps[0] is not training or self._steps[1] != size:
            if self._data is None or self._data[0] is not training:
                self._data = training, self._copied(training), self._translated(training.teacher)
            _, data, teacher = self._data
            loss = DeviceLoss(torch.from_numpy(self._adjustments).to(self._device), self._recipe.loop.label_smoothing)
            steps = Steps(self._network, self._update, data, teacher, self._recipe.augment, size, loss)
            self._steps = training, size, steps
        return self._steps[2]

    def _copied(self, training: TrainingSet) -> DeviceImages:
        arrays = training.images, training.targets, training.loss_weights(self._recipe.loop.class_weights)
        return DeviceImages(*(torch.from_numpy(array).to(self._device) for array in arrays))

    def _translated(self, teacher: Teacher | None) -> DeviceTeacher | None:
        if teacher is None:
            return None
        precision = self._recipe.loop.precision
        networks = [(TorchNetwork(each, self._device, precision), each.input_shape[1]) for each in teacher.networks]
        return DeviceTeacher(networks, teacher.share, teacher.mirrored)

    def _write(self) -> None:
        """Give the Keras model the weights, and its optimizer the state, for the checkpoint."""
        self._network.write_weights()
        for slots, variables in self._update.slots:
            self._network.write_slots(slots, variables)
        self._model.optimizer.iterations.assign(self._done)
