"""Kill training runs by SIGKILL at file operations, and continue them; a test runs this as a program.

    python killed_runs.py FOLDER [all]

FOLDER contains recipe.toml and fer2013.csv. A first run is not killed; it lists the operations on files in its folder.
Each further run is killed right before one operation and continued: with ``--resume`` if its folder already contains a
recipe, else by the same command again. With ``all`` there is one for every operation, else for what follows every
second rename from the last epoch's checkpoint to the end. Prints one JSON object: the operations, a digest of the first
run, and for each killed run its digest, or the exit code of its continuation.

Runs are forked from this process, which imports TensorFlow once and never uses it: TensorFlow starts its threads with
its first operation.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILES = ("checkpoint.keras", "best.keras", "held.keras", "model.keras")
OPERATIONS = {"open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "os.chmod", "os.link"}
RENAMES = {"os.rename", "os.link"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def digests(run: Path) -> dict[str, Any]:
    """Return digests of the weights that the run wrote, its history without times, and the names of its files."""
    import keras
    import numpy as np

    found: dict[str, Any] = {}
    for name in FILES:
        digest = hashlib.sha256()
        for array in keras.models.load_model(run / name, compile=False).get_weights():
            digest.update(array.tobytes())
        found[name] = digest.hexdigest()
    with np.load(run / "averaged.npz") as mean:
        found["mean"] = hashlib.sha256(b"".join(mean[key].tobytes() for key in mean.files)).hexdigest()
    lines = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    found["history"] = [{key: line[key] for key in line if key != "seconds"} for line in lines]
    found["files"] = sorted(path.name for path in run.iterdir())
    return found


def in_a_fork(function: Callable[[], int]) -> int:
    """Return the exit code of a forked process that calls ``function``, negative for a signal."""
    child = os.fork()
    if child == 0:
        sys.exit(function())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def watch(run: Path, log: Path, kill_at: int | None) -> None:
    """Write each operation on a file in ``run`` to ``log``, and kill this process before number ``kill_at``.

    The run's lock does not appear: SQLite opens its file without Python.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in OPERATIONS or not isinstance(arguments[0], str | os.PathLike):
            return
        if event == "open" and not int(arguments[2]) & WRITES:
            return
        paths = [Path(path) for path in arguments[: 2 if event in RENAMES else 1]]
        if not any(path == run or run in path.parents for path in paths):
            return
        count += 1
        os.write(descriptor, " ".join([event, *(path.name for path in paths)]).encode() + b"\n")
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def operations_in(run: Path) -> list[str]:
    """Return the operations that ``watch`` logged, without the folder's name and random parts of names."""
    lines = run.with_suffix(".log").read_text().splitlines()
    return [re.sub(rf"{run.name}$|\.[0-9a-f]{{8}}\.tmp", ".tmp", line) for line in lines]


def after_renames_of_the_end(operations: list[str]) -> list[int]:
    """Return the numbers, from 1, of the operations that follow a rename, from the last epoch's checkpoint on."""
    renames = [at for at, operation in enumerate(operations, 1) if operation.startswith("os.rename")]
    last = max(at for at in renames if operations[at - 1].endswith(" checkpoint.keras"))
    return [at + 1 for at in renames if at >= last]


def main(folder: Path, everything: bool) -> None:
    # What each run would import on its own.
    import matplotlib.figure  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import tensorflow as tf

    # Sums in one order, so that equal runs are equal to the last bit.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from fer_edge.commands.cli import main as fer_edge
    from fer_train.backend import load_keras

    load_keras()

    def train(run: Path, *options: str, kill_at: int | None = None) -> int:
        words = ["train", "--config", folder / "recipe.toml", "--data", folder / "fer2013.csv", "--out", run, *options]

        def watched() -> int:
            log = run.with_suffix(".again.log" if run.exists() else ".log")
            watch(run, log, kill_at)
            code = fer_edge(list(map(str, words)))
            if code == 0:
                run.with_suffix(".json").write_text(json.dumps(digests(run)))
            return code

        return in_a_fork(watched)

    whole = folder / "whole"
    if code := train(whole):
        sys.exit(f"{whole}: exit code {code}")
    operations = operations_in(whole)
    continued: dict[int, Any] = {}
    for number in range(1, len(operations) + 1) if everything else after_renames_of_the_end(operations)[::2]:
        run = folder / f"killed-{number:03d}"
        code = train(run, kill_at=number)
        done = operations_in(run)
        if code != -signal.SIGKILL or done != operations[:number]:
            sys.exit(f"{run}: exit code {code} at {done[-1:]}, not SIGKILL at {operations[number - 1]}")
        code = train(run, *(["--resume"] if (run / "config.toml").exists() else []))
        continued[number] = code or json.loads(run.with_suffix(".json").read_text())
    result = json.loads(whole.with_suffix(".json").read_text())
    print(json.dumps({"operations": operations, "whole": result, "continued": continued}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["all"])
