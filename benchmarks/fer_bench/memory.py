"""Resident memory and load time of a variant, in a fresh process of its own (``python -m fer_bench.memory``).

The child imports the runtime as the device does and nothing else; the top of this module stays light for its sake.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

from fer_bench.results import MemoryResult
from fer_edge.errors import FerEdgeError, ModelError
from fer_edge.process_memory import resident_mib

_TIMEOUT_S = 300
"""Far beyond any load on a Pi; a child that takes longer hangs."""


def measure_memory(model: Path, threads: int = 1) -> MemoryResult:
    """Load ``model`` (.tflite, .onnx) in a child process and invoke it once. Raises ModelError when the child fails."""
    command = [sys.executable, "-m", "fer_bench.memory", str(model.resolve()), str(threads)]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{model}: did not load within {_TIMEOUT_S} s in a process of its own") from error
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines() or [f"exit code {child.returncode}"]
        raise ModelError(f"{model}: cannot be loaded in a process of its own: {lines[-1]}")
    return MemoryResult(**json.loads(child.stdout.splitlines()[-1]))


def rss_mib() -> float:
    """Resident memory of this process in MiB, on a system without /proc too."""
    resident = resident_mib()
    if not math.isnan(resident):
        return resident
    from fer_bench.extras import require

    return float(require("psutil").Process().memory_info().rss / 2**20)


def _measure_here(model: Path, threads: int) -> dict[str, float]:
    before = rss_mib()
    start = time.perf_counter()
    import numpy as np

    from fer_bench.onnx_model import load_model

    imported = time.perf_counter()
    rss_import = rss_mib()
    load_start = time.perf_counter()
    opened = load_model(model, threads)
    loaded = time.perf_counter()
    details = opened.input_details
    # XNNPACK packs its weights at the first call at the latest: what serving needs is what counts.
    opened.invoke(np.zeros(tuple(details.shape), dtype=details.dtype))
    return {
        "rss_before_mib": round(before, 3),
        "rss_import_mib": round(rss_import, 3),
        "rss_loaded_mib": round(rss_mib(), 3),
        "import_ms": round(1e3 * (imported - start), 3),
        "load_ms": round(1e3 * (loaded - load_start), 3),
    }


def _main() -> int:
    try:
        measured = _measure_here(Path(sys.argv[1]), int(sys.argv[2]))
    except FerEdgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(measured) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
