"""The process that loads one model file and times it on request. It is started by its path.

It exchanges lines of JSON. The first one on standard input is the job, and the answer is ``{"ready": …}``,
``{"missing": reason}`` or ``{"refused": reason}``. Then ``{"warm_up": 10, "runs": 100}`` is answered with
``{"samples_ns": […], "waiting_ns": …}`` until the input ends. The interpreter may be another one than the command's,
with other packages (tflite-runtime needs numpy < 2). So the job names the folders of this project's packages, and no
other package of the command's environment becomes importable.

A job has these keys: ``packages``, folders by name; ``module`` and ``distribution``, of the engine; ``loader``, the
``module:name`` that loads a file and a number of threads, and its other arguments ``options``; ``model``; ``threads``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fer_edge.model.interpreter import TensorModel

_CROPS, _SEED = 16, 20130701


def main() -> None:
    """Serve one configuration until the input ends."""
    # The channel is a copy of standard output, which native libraries may write to.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel, contextlib.suppress(BrokenPipeError):
        os.dup2(2, 1)
        if sys.version_info < (3, 11):  # noqa: UP036  (the user names this interpreter)
            send(channel, {"missing": "older than Python 3.11"})
            return
        # Python adds the folder of a script to the path; these modules are imported through their package.
        sys.path[:] = [entry for entry in sys.path if Path(entry) != Path(__file__).parent]
        job = json.loads(sys.stdin.readline())
        for name, folder in job["packages"].items():
            _make_importable(name, Path(folder))
        from fer_edge.errors import FerEdgeError

        try:
            model, tensors, ready = _load(job)
        except ImportError as error:
            send(channel, {"missing": _one_line(error)})
            return
        except FerEdgeError as error:
            send(channel, {"refused": _one_line(error)})
            return
        send(channel, {"ready": ready})
        for line in sys.stdin:
            send(channel, _time_block(model, tensors, **json.loads(line)))


def _make_importable(name: str, folder: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder}: no package")
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)


def rss_mib() -> float:
    """Return the resident memory of this process in MiB (2**20 bytes), also on a system without /proc."""
    from fer_edge.errors import MissingExtraError
    from fer_edge.system.process_memory import resident_mib

    resident = resident_mib()
    if not math.isnan(resident):
        return resident
    try:
        psutil = importlib.import_module("psutil")
    except ModuleNotFoundError:
        raise MissingExtraError("psutil", "bench") from None
    return float(psutil.Process().memory_info().rss / 2**20)


def _load(job: dict[str, Any]) -> tuple[TensorModel, list[npt.NDArray[np.generic]], dict[str, Any]]:
    """Return the model, crops for it, and the cost of loading it and of the first invocation."""
    before, start = rss_mib(), time.perf_counter()
    _import_engine(job["module"], job["distribution"])
    import_s, imported = time.perf_counter() - start, rss_mib()
    start = time.perf_counter()
    module, _, name = job["loader"].partition(":")
    load: Callable[..., TensorModel] = getattr(importlib.import_module(module), name)
    model = load(Path(job["model"]), job["threads"], **job["options"])
    load_s = time.perf_counter() - start
    tensors = _random_tensors(model)
    model.invoke(tensors[0])  # XNNPACK packs its weights at the first call at the latest
    loaded = rss_mib()  # before anything else is imported
    from importlib import metadata

    runtime = str(job["distribution"])
    with contextlib.suppress(metadata.PackageNotFoundError):  # onnxruntime comes under other names, too
        runtime += f" {metadata.version(runtime)}"
    interpreter = model.describe()
    ready = {
        "runtime": runtime,
        "import_ms": round(1e3 * import_s, 3),
        "load_ms": round(1e3 * load_s, 3),
        "rss_before_mib": round(before, 3),
        "rss_import_mib": round(imported, 3),
        "rss_loaded_mib": round(loaded, 3),
        "nodes": interpreter.nodes,
        "delegated_nodes": interpreter.delegated_nodes,
    }
    return model, tensors, ready


def _import_engine(module: str, distribution: str) -> None:
    numpy = importlib.import_module("numpy")
    if distribution == "tflite-runtime" and int(numpy.__version__.partition(".")[0]) >= 2:
        # Its requirements do not state this: it can be installed and imported, and fails when it is used.
        raise ImportError(f"numpy {numpy.__version__} is too new")
    importlib.import_module(module)


def _random_tensors(model: TensorModel) -> list[npt.NDArray[np.generic]]:
    """Return random crops of the model's input type; the seed is fixed, so they are the same for all models."""
    import numpy as np

    wanted = model.input_details
    crops = np.random.default_rng(_SEED).integers(0, 256, (_CROPS, *wanted.shape), dtype=np.uint8)
    return [crop.astype(wanted.dtype) for crop in crops]


def _time_block(model: TensorModel, tensors: list[npt.NDArray[np.generic]], warm_up: int, runs: int) -> dict[str, Any]:
    """Time ``runs`` invocations after ``warm_up`` untimed ones, in ns, and measure how long the process waited."""
    for i in range(warm_up):
        model.invoke(tensors[i % _CROPS])
    samples = []
    waited = _waiting_ns()
    for i in range(runs):
        tensor = tensors[i % _CROPS]
        start = time.perf_counter_ns()
        model.invoke(tensor)
        samples.append(time.perf_counter_ns() - start)
    waiting = None if waited is None else (_waiting_ns() or 0) - waited
    return {"samples_ns": samples, "waiting_ns": waiting}


def _waiting_ns() -> int | None:
    """Return how long the threads of this process were ready to run and waited for a core; None if unknown.

    This is the second number of schedstat, https://docs.kernel.org/scheduler/sched-stats.html
    """
    try:
        tasks = list(Path("/proc/self/task").iterdir())
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[1]) for task in tasks)
    except (OSError, ValueError, IndexError):
        return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def send(channel: TextIO, answer: dict[str, Any]) -> None:
    """Send ``answer`` as a line of JSON."""
    channel.write(json.dumps(answer) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()
