"""Logits and times from a device, with the interfaces of those from this machine."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from fer_bench.extras import progress
from fer_bench.host import CPUINFO, describe
from fer_bench.latency.engines import ENGINES
from fer_bench.latency.machine import read_machine_state
from fer_bench.latency.measure import Limits, Plan
from fer_bench.latency.process import Configuration, Worker, job_of
from fer_bench.remote.device import Device, bundle_file, bundle_key
from fer_bench.results import REFERENCE, HostInfo
from fer_bench.runners import checked, fitted
from fer_edge.errors import FerEdgeError, ModelError
from fer_edge.model.bundle import ModelBundle, ModelVariant
from fer_edge.system.closing import Closing
from fer_edge.system.messages import print_message
from fer_edge.types import Float32Array, UInt8Array

T = TypeVar("T")
_SUFFIX = ".tflite"
"""Of the files that a device can run."""
_IMAGES = 64
"""Images for one answer: about half a second on a Pi, so that the progress is visible."""


class RemoteRunner(Closing):
    """A bundle's variant, run by the device's classifier; see ``ModelRunner``. The bundle was sent."""

    def __init__(self, device: Device, bundle: ModelBundle, variant: str) -> None:
        """Load the variant there. Raises ModelError if the device refuses it."""
        manifest = bundle.manifest
        self.name = f"{manifest.name} {variant}"
        self.labels: tuple[str, ...] | None = manifest.labels
        self.temperature = manifest.temperature
        self._device = device
        self._size = manifest.input.height, manifest.input.width
        self._columns = len(manifest.labels)
        device.request("open", bundle=bundle_key(bundle), variant=variant)

    def logits(self, images: UInt8Array) -> Float32Array:
        """See ``ModelRunner.logits``."""
        pixels = io.BytesIO()
        np.save(pixels, fitted(images, self._size), allow_pickle=False)
        data = pixels.getvalue()
        name = f"{hashlib.sha256(data).hexdigest()}/images.npy"
        self._device.send({name: data})
        parts = []
        for start in progress(range(0, len(images), _IMAGES), f"{self.name} on {self._device.host}"):
            answer = self._device.request("logits", images=name, start=start, count=_IMAGES)
            parts.append(np.frombuffer(base64.b64decode(answer), "<f4").reshape(-1, self._columns))
        return checked(np.concatenate(parts), f"{self.name} on {self._device.host}")


def working_variants(device: Device, bundle: ModelBundle) -> tuple[str, ...]:
    """Send ``bundle`` and return the variants that the device can run, float32 first.

    Each is opened once, so that a broken one is refused at once; the others are printed on stderr. Raises ModelError.
    """
    variants = send_variants(device, bundle)
    for name in variants:
        RemoteRunner(device, bundle, name)
    return variants


def send_variants(device: Device, bundle: ModelBundle) -> tuple[str, ...]:
    """Send the variants that a device can run, and return their names, float32 first. Raises ModelError for none."""
    found = {name: entry.suffix == _SUFFIX for name, entry in bundle.manifest.variants.items()}
    for name in (name for name, fits in found.items() if not fits):
        sys.stderr.write(f"fer-edge: {name} is left out: a device runs only {_SUFFIX} files\n")
    variants = tuple(sorted((name for name, fits in found.items() if fits), key=lambda name: name != REFERENCE))
    if not variants:
        raise ModelError(f"{bundle.folder}: no variant that a device can run; it has {', '.join(found)}")
    device.send_bundle(bundle, variants)
    return variants


class RemoteMachine:
    """The device as a ``Machine``, and the start of workers there for a bundle that was sent."""

    def __init__(self, device: Device, bundle: ModelBundle) -> None:
        self._device, self._bundle = device, bundle
        self.limits = Limits(
            device.facts.cores,
            device.host,
            tuple(name for name, engine in ENGINES.items() if engine.suffix == _SUFFIX),
        )

    def files(self, *patterns: str) -> Mapping[str, str]:
        """See ``Machine.files``."""
        found: dict[str, str] = self._device.request("files", patterns=patterns)
        return found

    def vcgencmd(self) -> str | None:
        """See ``Machine.vcgencmd``."""
        found: str | None = self._device.request("vcgencmd")
        return found

    def own_cpu_s(self) -> float:
        """See ``Machine.own_cpu_s``."""
        return float(self._device.request("own_cpu_s"))

    def describe(self) -> HostInfo:
        """Return the description of the device for a report."""
        return describe(self._device.facts, self.files(CPUINFO).get(CPUINFO, ""))

    def warn_if_throttled(self) -> None:
        """Print a line if heat or low voltage slows the device down now."""
        flags = read_machine_state(self).throttled
        if flags is not None and flags.now:
            print_message(
                f"{self._device.host}: slowed down now ({', '.join(flags.now)}), so its times are too long: check its"
                " cooling and power supply"
            )

    def start(self, configuration: Configuration, variant: ModelVariant, plan: Plan) -> Worker:
        """Start the worker of a configuration there, with a file that was sent. Raises what ``Worker`` does."""
        device = self._device
        channel = _RemoteProcess(device, str(configuration), plan.timeout_s)
        model = f"{device.cache}/{bundle_file(self._bundle, variant.path.name)}"
        job = {"packages": device.packages, **job_of(configuration, model)}
        return Worker(configuration, job, channel, f"{device.python} on {device.host}")


class _RemoteProcess:
    """A process that times a model on the device: a ``Channel``."""

    def __init__(self, device: Device, name: str, timeout_s: float) -> None:
        self._device, self._name = device, name
        self._process: int | None = device.request("start", name=name, timeout_s=timeout_s)

    def ask(self, data: bytes) -> dict[str, Any]:
        """See ``Channel.ask``."""
        answer: dict[str, Any] = self._device.request("ask", process=self._process, line=data.decode())
        return answer

    def understand(self, parse: Callable[[], T]) -> T:
        """See ``Channel.understand``."""
        try:
            return parse()
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            raise ModelError(f"{self._device.host}: {self._name}: its process gives an invalid answer") from None

    def close(self) -> None:
        """See ``Channel.close``."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(FerEdgeError):  # the device is gone, and with it the process
                self._device.request("end", process=process)
