"""A ``.tflite`` model in memory, on LiteRT with XNNPACK and one thread, which may have several outputs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fer_edge.errors import ModelError, reason_of
from fer_edge.system.closing import Closing
from fer_edge.system.stderr import hidden_stderr

_SEED = 20130701


class BareModel(Closing):
    """A model to be timed. A context manager; ``close`` is idempotent."""

    def __init__(self, content: bytes, name: str) -> None:
        """Load ``content``, and give it random pixels. Raises ModelError, which begins with ``name``."""
        from ai_edge_litert.interpreter import Interpreter

        try:
            with hidden_stderr():
                self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
                self._interpreter.allocate_tensors()
            for wanted in self._interpreter.get_input_details():
                pixels = np.random.default_rng(_SEED).integers(0, 256, wanted["shape"], dtype=np.uint8)
                # Other types than uint8 and float32 take these bytes as any other values: the time is the same.
                self._interpreter.set_tensor(wanted["index"], pixels.astype(wanted["dtype"]))
            self._interpreter.invoke()  # XNNPACK packs its weights at the first call at the latest
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{name}: LiteRT cannot run it: {reason_of(error)[:200]}") from None

    def best_ns(self, runs: int) -> int:
        """Return the time of the fastest of ``runs`` invocations: other programs only ever make one slower."""
        invoke = self._interpreter.invoke
        best = 1 << 62
        for _ in range(runs):
            start = time.perf_counter_ns()
            invoke()
            best = min(best, time.perf_counter_ns() - start)
        return best

    def close(self) -> None:
        """Release the runtime's memory."""
        self._interpreter = None
