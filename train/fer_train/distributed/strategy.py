"""Training in several processes: which of them this one is, and what they tell each other.

JAX runs one program on the devices of all of them (``keras.distribution.DataParallel``). Each holds all the weights and
trains on its part of each batch; gradients and BatchNorm's statistics are those of the whole batch, so that the result
is one process's but for rounding. Process 0 alone reads and writes the run's folder and validates; the others are told.
``fer_train.distributed.supervisor`` is what keeps watch over all this.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import ConfigError, reason_of
from fer_edge.settings.base import to_table
from fer_train.recipe.recipe import Recipe

if TYPE_CHECKING:
    from fer_train.training.batches import TrainingSet

log = logging.getLogger(__name__)

LOST_AFTER_S = 30
"""Seconds without a sign of life after which a process counts as lost. One that ended is noticed at once."""
_BLOCK = 4096
"""Texts are sent in whole blocks of so many bytes: JAX compiles anew for each length."""


@dataclass(frozen=True, slots=True)
class Place:
    """This process among ``processes``, which meet at ``coordinator`` (HOST:PORT of process 0) within ``wait_s``."""

    coordinator: str
    processes: int
    process: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Part:
    """Which images of a batch a process trains on: the ``index``-th of ``parts`` equal parts.

    A batch is cut to a multiple of ``devices``, those of all processes; that concerns the last one of an epoch alone.
    """

    index: int = 0
    parts: int = 1
    devices: int = 1

    def whole(self, images: int) -> int:
        """How many of a batch's ``images`` are trained on by all processes together."""
        return images - images % self.devices

    def of(self, images: int) -> slice:
        """Which of them are this process's."""
        share = self.whole(images) // self.parts
        return slice(self.index * share, (self.index + 1) * share)


class Alone:
    """One process that trains by itself."""

    part = Part()
    first = True
    """Whether this process reads and writes the run's folder."""
    processes = 1

    def agree(self, facts: Callable[[], dict[str, Any]]) -> None:
        """Raise ConfigError, naming it, when one of the ``facts`` is another one on another process."""

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What ``make`` gives on process 0, where alone it is called, ``apart``; it must be JSON."""
        return make()

    def arrays_from_first(
        self, make: Callable[[], list[npt.NDArray[Any]]], like: Sequence[npt.NDArray[Any]]
    ) -> list[npt.NDArray[Any]]:
        """The arrays that ``make`` gives on process 0, as above; they have the shapes and dtypes of ``like``."""
        return make()

    def apart(self) -> AbstractContextManager[None]:
        """What is made in this block is this process's own."""
        return nullcontext()

    def shared(self, build: Callable[[], Any]) -> Any:
        """The model that ``build`` makes, as one that all processes train, with the weights it has on process 0."""
        return build()

    def own_copy(self, model: Any) -> Any:
        """``model`` as one that this process can ask without the others, ``apart``."""
        return model

    def settle(self, model: Any) -> None:
        """At the end of an epoch: see that all processes hold the same."""


class Together(Alone):
    """One of several processes that train as one, on JAX. Make it with ``join``."""

    def __init__(self, place: Place) -> None:
        import jax

        self.first = place.process == 0
        self.processes = place.processes
        self.part = Part(place.process, place.processes, jax.device_count())
        self._copied: Any = None
        self._copy: Any = None

    def agree(self, facts: Callable[[], dict[str, Any]]) -> None:
        """Raises the same ConfigError on every process, and parts from the others first."""
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

    def from_first(self, make: Callable[[], Any]) -> Any:
        """As above; the others wait for it."""
        with self.apart():
            text = json.dumps(make()).encode() if self.first else b""
        length = int(_broadcast([np.array(len(text))])[0])
        room = np.zeros(-(-length // _BLOCK) * _BLOCK, np.uint8)
        room[: len(text)] = np.frombuffer(text, np.uint8)
        return json.loads(_broadcast([room])[0][:length].tobytes())

    def arrays_from_first(
        self, make: Callable[[], list[npt.NDArray[Any]]], like: Sequence[npt.NDArray[Any]]
    ) -> list[npt.NDArray[Any]]:
        """As above; the others wait for it."""
        with self.apart():
            arrays = make() if self.first else list(like)
        return _broadcast(arrays)

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Keras' distribution is off in this block."""
        import keras

        ours = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(ours)

    def shared(self, build: Callable[[], Any]) -> Any:
        """As above. JAX wants values that are equal to the last bit, and compiled code draws them differently."""
        import keras

        with self.apart():
            own = build()
            described = keras.saving.serialize_keras_object(own)
        model = keras.saving.deserialize_keras_object(_begun_with_zeros(described))
        model.set_weights(self.arrays_from_first(own.get_weights, own.get_weights()))
        return model

    def own_copy(self, model: Any) -> Any:
        """A model with the weights that ``model`` has now; the same one for each model."""
        import keras

        if self._copied is not model:
            self._copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
            self._copied = model
        self._copy.set_weights(model.get_weights())
        return self._copy

    def settle(self, model: Any) -> None:
        """Processors of different kinds round differently; where that shows, all take process 0's weights."""
        digest = weights_digest(model)
        if len(set(self._gather(digest))) > 1:
            log.warning("the processes' weights differ, as their processors round differently: taking process 0's")
            variables = [*model.weights, *model.optimizer.variables]
            values = [np.asarray(variable.value) for variable in variables]
            for variable, value in zip(variables, self.arrays_from_first(lambda: values, values), strict=True):
                variable.assign(value)
            digest = weights_digest(model)
        log.info("process %d of %d holds the weights %s", self.part.index, self.processes, digest)

    def _gather(self, text: str) -> list[str]:
        """``text`` of each process, in their order."""
        from jax.experimental import multihost_utils

        data = text.encode()
        lengths = np.asarray(multihost_utils.process_allgather(np.array(len(data))))
        room = np.zeros(-(-int(lengths.max()) // _BLOCK) * _BLOCK, np.uint8)
        room[: len(data)] = np.frombuffer(data, np.uint8)
        gathered = np.asarray(multihost_utils.process_allgather(room))
        return [row[:length].tobytes().decode() for row, length in zip(gathered, lengths, strict=True)]


def check_coordinator(address: str) -> None:
    """Raise ConfigError where process 0 cannot listen at ``address``, HOST:PORT; JAX would end it without a reason."""
    host, _, port = address.rpartition(":")
    reason = ""
    try:
        for family, kind, protocol, _, target in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a run that ended just now is gone
                    probe.bind(target)
                    probe.listen()
                    return
            except OSError as error:  # a name may stand for several addresses, and one of them will do
                reason = reason_of(error)
    except (OSError, UnicodeError) as error:
        reason = reason_of(error)
    raise ConfigError(
        f"--coordinator {address}: process 0 cannot listen there ({reason}): "
        "give an address of its own machine, and a free port"
    )


def check_own_name() -> None:
    """Check that this machine's name resolves to an address of its own, which Gloo binds to.

    JAX uses Gloo between CPUs, and starts it next to GPUs too unless ``JAX_PLATFORMS`` leaves ``cpu`` out. Where the
    name does not resolve, Gloo fails with ``rv == 0``, after the data have been read and the processes have met.

    Raises:
        ConfigError: if the name has no address, or if none of its addresses belongs to this machine.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    collectives = os.environ.get("JAX_CPU_COLLECTIVES_IMPLEMENTATION", "gloo")
    if (platforms and "cpu" not in platforms.split(",")) or collectives != "gloo":
        return
    name = socket.gethostname()
    fix = f"add a line with the address of this machine and {name} to /etc/hosts"
    try:
        addresses = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"this machine's name, {name}, has no address ({reason_of(error)}), and JAX needs one to connect the "
            f"processes: {fix}"
        ) from None
    reasons = {}
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
                return
        except OSError as error:
            reasons[address[0]] = reason_of(error)
    seen = ", ".join(f"{address} ({reason})" for address, reason in reasons.items())
    raise ConfigError(
        f"this machine's name, {name}, has no address of this machine: {seen}; JAX needs one to connect the "
        f"processes: {fix}"
    )


def join(place: Place, batch_size: int) -> Together:
    """Meet the other processes; call it after ``load_keras("jax")``, before anything is computed.

    Raises ConfigError when batches of ``batch_size`` cannot be shared by all their devices. Where they do not meet, JAX
    ends this process, with a stack trace: see ``fer_train.distributed.supervisor``.
    """
    import jax
    import keras

    _warn_of_loopback(place.coordinator.rpartition(":")[0])
    # It would take SIGTERM, and wait for a moment at which all processes stop together.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        place.coordinator,
        place.processes,
        place.process,
        initialization_timeout=round(place.wait_s),
        heartbeat_timeout_seconds=LOST_AFTER_S,
        # JAX's default is every network of this machine.
        coordinator_bind_address=place.coordinator,
    )
    # auto_shard_dataset=False: ``TrainingBatches`` gives each process its part.
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    devices = jax.device_count()
    if batch_size % devices:
        jax.distributed.shutdown()
        raise ConfigError(
            f"loop.batch_size {batch_size} cannot be shared by the {devices} devices of all processes: "
            f"make it a multiple of {devices}"
        )
    return Together(place)


def facts_of(recipe: Recipe, learned: Sequence[TrainingSet], revision: str) -> dict[str, Any]:
    """All that decides what the weights become, each by what it is called; ``learned`` is what is trained on."""
    import keras

    digest = hashlib.sha256()
    for training in learned:
        for array in (training.images, training.labels, training.targets, training.weights):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    libraries = ("keras", keras.backend.backend(), "numpy", "opencv-python-headless")
    return {
        **{f"recipe's {key}": value for key, value in _flat(to_table(recipe), "")},
        "training images and targets": digest.hexdigest()[:12],
        "code": revision,
        **{f"version of {library}": version(library) for library in libraries},
    }


def _begun_with_zeros(described: Any) -> Any:
    """What Keras made of a model to keep it, with zeros as first values."""
    if isinstance(described, dict):
        if described.get("module") == "keras.initializers":
            return {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}
        return {key: _begun_with_zeros(value) for key, value in described.items()}
    return [_begun_with_zeros(value) for value in described] if isinstance(described, list) else described


def _flat(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def weights_digest(model: Any) -> str:
    """SHA-256 of the bytes of a Keras model's weights, in their order."""
    digest = hashlib.sha256()
    for value in model.get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _warn_of_loopback(host: str) -> None:
    """On CPUs JAX tells the others the address that this machine's name stands for: on Debian that is 127.0.1.1."""
    name = socket.gethostname()
    with contextlib.suppress(OSError, UnicodeError, ValueError):  # unknown names: see check_own_name
        own, theirs = (ipaddress.ip_address(socket.gethostbyname(each)) for each in (name, host.strip("[]")))
        if own.is_loopback and not theirs.is_loopback:
            log.warning(
                "this machine's name, %s, stands for %s, where other machines cannot reach it; if they do not meet, "
                "give it its own address in /etc/hosts",
                name,
                own,
            )


def _broadcast(arrays: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    from jax.experimental import multihost_utils

    return [np.asarray(array) for array in multihost_utils.broadcast_one_to_all(arrays)]
