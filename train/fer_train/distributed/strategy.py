"""Strategies of training: in one process, or distributed over several.

JAX runs one program on the devices of all processes (``keras.distribution.DataParallel``). Each process has all weights
and trains on its shard of each batch; gradients and BatchNorm's statistics are those of the whole batch, so that the
result equals that of one process except for rounding. Only process 0 reads and writes the run's folder and validates;
it broadcasts the results. ``supervisor`` handles lost processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import ConfigError
from fer_train.distributed.addresses import warn_of_loopback

log = logging.getLogger(__name__)

HEARTBEAT_TIMEOUT_S = 30
"""Seconds without a heartbeat after which a process counts as lost. One that has ended is noticed at once."""
_BLOCK = 4096
"""Texts are padded to multiples of this number of bytes: JAX compiles again for each length."""

Arrays = list[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """This process's ``rank`` among ``processes``, which connect at ``coordinator`` within ``wait_s`` seconds.

    ``coordinator`` is HOST:PORT of process 0.
    """

    coordinator: str
    processes: int
    rank: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Shard:
    """The images of a batch on which a process trains: the ``index``-th of ``count`` equal shards.

    A batch is cut to a multiple of ``devices``, the number of devices of all processes; only the last batch of an epoch
    can be affected.
    """

    index: int = 0
    count: int = 1
    devices: int = 1

    def used(self, images: int) -> int:
        """Return how many of a batch's ``images`` all processes together use."""
        return images - images % self.devices

    def of(self, images: int) -> slice:
        """Return which of them this process uses."""
        share = self.used(images) // self.count
        return slice(self.index * share, (self.index + 1) * share)


class SingleProcessStrategy:
    """Training in one process."""

    shard = Shard()
    is_main = True
    """Whether this process reads and writes the run's folder."""
    processes = 1

    def check_agreement(self, facts: Callable[[], dict[str, Any]]) -> None:
        """Check that ``facts`` are equal in all processes.

        Raises:
            ConfigError: if one is not, on each process. The message names it.
        """

    def on_main(self, make: Callable[[], Any]) -> Any:
        """Call ``make`` on process 0 and return its result, which must be JSON, on all."""
        return make()

    def arrays_on_main(self, make: Callable[[], Arrays], like: Sequence[npt.NDArray[Any]]) -> Arrays:
        """Call ``make`` on process 0 and return its arrays, with shapes and dtypes of ``like``, on all."""
        return make()

    def local(self) -> AbstractContextManager[None]:
        """Return a context in which models are this process's own, not distributed."""
        return nullcontext()

    def replicated(self, build: Callable[[], Any]) -> Any:
        """Return the model that ``build`` makes, for distributed training from the weights on process 0."""
        return build()

    def local_copy(self, model: Any) -> Any:
        """Return a model with the weights of ``model`` that this process can use without the others."""
        return model

    def synchronize(self, model: Any) -> None:
        """Ensure at the end of an epoch that all processes have the same weights."""


class DistributedStrategy(SingleProcessStrategy):
    """Training in several processes, on JAX. Created by ``connect``."""

    def __init__(self, rank: ProcessRank) -> None:
        """Store the rank; the processes are already connected."""
        import jax

        self.is_main = rank.rank == 0
        self.processes = rank.processes
        self.shard = Shard(rank.rank, rank.processes, jax.device_count())
        self._copied: Any = None
        self._copy: Any = None

    def check_agreement(self, facts: Callable[[], dict[str, Any]]) -> None:
        """As above; disconnects from the other processes before it raises."""
        import jax

        local = {**facts(), "number of devices": jax.local_device_count()}
        first, *others = map(json.loads, self._gather(json.dumps(local)))
        for number, theirs in enumerate(others, start=1):
            for name in {**first, **theirs}:
                if first.get(name) != theirs.get(name):
                    jax.distributed.shutdown()
                    raise ConfigError(
                        f"process {number} differs from process 0 in its {name}: {theirs.get(name)} and "
                        f"{first.get(name)}; start all with the same recipe, data and code"
                    )

    def on_main(self, make: Callable[[], Any]) -> Any:
        """As above; the other processes wait."""
        with self.local():
            text = json.dumps(make()).encode() if self.is_main else b""
        length = int(_broadcast([np.array(len(text))])[0])
        return json.loads(_broadcast([_padded(text, length)])[0][:length].tobytes())

    def arrays_on_main(self, make: Callable[[], Arrays], like: Sequence[npt.NDArray[Any]]) -> Arrays:
        """As above; the other processes wait."""
        with self.local():
            arrays = make() if self.is_main else list(like)
        return _broadcast(arrays)

    @contextlib.contextmanager
    def local(self) -> Iterator[None]:
        """As above: Keras' distribution is off in this block."""
        import keras

        distribution = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(distribution)

    def replicated(self, build: Callable[[], Any]) -> Any:
        """As above.

        JAX needs initial values that are equal to the last bit, but compiled initializers can differ between machines.
        So the distributed model starts from zeros, and then gets the weights of process 0.
        """
        import keras

        with self.local():
            own = build()
            config = keras.saving.serialize_keras_object(own)
        model = keras.saving.deserialize_keras_object(_with_zero_initializers(config))
        model.set_weights(self.arrays_on_main(own.get_weights, own.get_weights()))
        return model

    def local_copy(self, model: Any) -> Any:
        """As above; the same copy for each call with one model."""
        import keras

        if self._copied is not model:
            self._copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
            self._copied = model
        self._copy.set_weights(model.get_weights())
        return self._copy

    def synchronize(self, model: Any) -> None:
        """As above: different processors can round differently. If so, all take the weights of process 0."""
        digest = weights_digest(model)
        if len(set(self._gather(digest))) > 1:
            log.warning("the processes' weights differ, as their processors round differently: taking process 0's")
            variables = [*model.weights, *model.optimizer.variables]
            values = [np.asarray(variable.value) for variable in variables]
            for variable, value in zip(variables, self.arrays_on_main(lambda: values, values), strict=True):
                variable.assign(value)
            digest = weights_digest(model)
        log.info("process %d of %d holds the weights %s", self.shard.index, self.processes, digest)

    def _gather(self, text: str) -> list[str]:
        """Return ``text`` of each process, by rank."""
        from jax.experimental import multihost_utils

        data = text.encode()
        lengths = np.asarray(multihost_utils.process_allgather(np.array(len(data))))
        gathered = np.asarray(multihost_utils.process_allgather(_padded(data, int(lengths.max()))))
        return [row[:length].tobytes().decode() for row, length in zip(gathered, lengths, strict=True)]


def connect(rank: ProcessRank, batch_size: int) -> DistributedStrategy:
    """Connect to the other processes. Call it after ``load_keras("jax")``, before any computation.

    If they do not connect, JAX aborts this process with a stack trace: see ``supervisor``.

    Raises:
        ConfigError: if batches of ``batch_size`` cannot be divided among all devices.
    """
    import jax
    import keras

    warn_of_loopback(rank.coordinator.rpartition(":")[0])
    # The preemption service would handle SIGTERM, and wait for a step at which all processes stop together.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        rank.coordinator,
        rank.processes,
        rank.rank,
        initialization_timeout=round(rank.wait_s),
        heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
        # By default, JAX listens on all networks of this machine.
        coordinator_bind_address=rank.coordinator,
    )
    # auto_shard_dataset=False: ``TrainingBatches`` already yields each process's shard.
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    devices = jax.device_count()
    if batch_size % devices:
        jax.distributed.shutdown()
        raise ConfigError(
            f"loop.batch_size {batch_size} cannot be shared by the {devices} devices of all processes: "
            f"make it a multiple of {devices}"
        )
    return DistributedStrategy(rank)


def weights_digest(model: Any) -> str:
    """Return the SHA-256 of the bytes of a Keras model's weights, in their order."""
    digest = hashlib.sha256()
    for value in model.get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _with_zero_initializers(config: Any) -> Any:
    """Return Keras' ``config`` of a model with zeros as initial values."""
    if isinstance(config, dict):
        if config.get("module") == "keras.initializers":
            return {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}
        return {key: _with_zero_initializers(value) for key, value in config.items()}
    return [_with_zero_initializers(value) for value in config] if isinstance(config, list) else config


def _padded(data: bytes, length: int) -> npt.NDArray[np.uint8]:
    """Return ``data`` in an array of whole blocks that has room for ``length`` bytes."""
    padded = np.zeros(-(-length // _BLOCK) * _BLOCK, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    return padded


def _broadcast(arrays: Arrays) -> Arrays:
    from jax.experimental import multihost_utils

    return [np.asarray(array) for array in multihost_utils.broadcast_one_to_all(arrays)]
