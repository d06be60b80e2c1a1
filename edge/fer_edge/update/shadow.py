"""Compare a new version with the one in use on the same crops, in a separate process.

The daemon sends the crops of faces to the process, which classifies each with both models and sends back the totals.
It has the lowest priority, sleeps to keep its share of processor time, and a crop that it has no time for is dropped:
the pipeline never waits. Nothing of it becomes an event.

``python -m fer_edge.update.shadow DESCRIPTOR OLD NEW VARIANT INTERPRETER SHARE`` is that process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from fer_edge.images.resample import cut_out
from fer_edge.model.bundle import DEFAULT_BUNDLE, load_bundle
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.system.closing import Closing
from fer_edge.types import Box, UInt8Array
from fer_edge.update.state import Comparison

_MAX_CROP_BYTES = 1 << 20
_REPORT_EVERY_S = 0.5
_KEPT_TIMES = 1000


class Shadow(Closing):
    """The process that compares ``new`` with ``old`` (None: the bundle in the package). Raises OSError.

    ``offer`` may be called by any thread.
    """

    def __init__(self, old: Path | None, new: Path, variant: str, interpreter: str, max_cpu_share: float) -> None:
        self.compared = Comparison()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        words = [str(theirs.fileno()), str(old or DEFAULT_BUNDLE), str(new), variant, interpreter, str(max_cpu_share)]
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def offer(self, pixels: UInt8Array) -> None:
        """Compare the models on a crop, uint8 [height, width], unless the process is busy."""
        with suppress(OSError):  # its queue is full, or it has ended
            self._socket.send(pixels.tobytes())

    def poll(self) -> int | None:
        """Read the totals so far into ``compared``, and return the exit code if the process has ended."""
        with suppress(OSError, msgspec.DecodeError):
            while data := self._socket.recv(4096):
                self.compared = msgspec.json.decode(data, type=Comparison)
        return self._child.poll()

    def close(self) -> None:
        """End the process. Idempotent."""
        self._socket.close()
        self._child.kill()
        self._child.wait()


def _compare(connection: socket.socket, models: list[EmotionClassifier], max_cpu_share: float) -> None:
    """Classify what arrives until the other end is closed."""
    size = models[0].crop_spec.height, models[0].crop_spec.width
    whole = Box(0, 0, size[1], size[0])
    times: list[deque[float]] = [deque(maxlen=_KEPT_TIMES) for _ in models]
    crops = agreed = 0
    reported_at = 0.0
    while data := connection.recv(_MAX_CROP_BYTES):
        if len(data) != size[0] * size[1]:
            continue
        pixels = np.frombuffer(data, np.uint8).reshape(size)
        began = time.process_time()
        found: list[str] = []
        for model, taken in zip(models, times, strict=True):
            start = time.perf_counter()
            spec = model.crop_spec
            fitting = pixels if (spec.height, spec.width) == size else cut_out(pixels, whole, spec.height, spec.width)
            found.append(model.labels[int(model.logits(fitting).argmax())])
            taken.append(1000 * (time.perf_counter() - start))
        crops, agreed = crops + 1, agreed + (found[0] == found[1])
        if time.monotonic() - reported_at > _REPORT_EVERY_S:
            reported_at = time.monotonic()
            totals = Comparison(crops, agreed, *(round(median(taken), 4) for taken in times))
            with suppress(BlockingIOError):
                connection.send(msgspec.json.encode(totals), socket.MSG_DONTWAIT)
        busy_s = time.process_time() - began
        time.sleep(busy_s * (1 / max_cpu_share - 1))


def _main(words: list[str]) -> None:
    os.nice(19)
    old, new, variant, interpreter = Path(words[1]), Path(words[2]), words[3], words[4]
    with socket.socket(fileno=int(words[0])) as connection, ExitStack() as opened:
        bundles = [opened.enter_context(load_bundle(folder)) for folder in (old, new)]
        models = [EmotionClassifier(bundle, variant, interpreter=interpreter) for bundle in bundles]
        _compare(connection, models, float(words[5]))


if __name__ == "__main__":
    _main(sys.argv[1:])
    os._exit(0)
