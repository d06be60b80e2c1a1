"""A training run seen at each file operation at which SIGKILL could end it; a test runs it as a program.

    python killed_runs.py FOLDER

FOLDER holds recipe.toml and fer2013.csv. A killed process leaves what its folder holds at that moment, so the folder of
an uninterrupted run is copied at each operation on it, and each copy that differs is resumed. Prints one JSON object:
digests of the uninterrupted run, and of each resumed one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

FILES = ("checkpoint.keras", "best.keras", "held.keras", "model.keras")
OPERATIONS = {"open", "os.rename", "os.remove", "os.chmod", "os.truncate"}


def digests(run: Path) -> dict[str, Any]:
    import keras
    import numpy as np

    told: dict[str, Any] = {}
    for name in FILES:
        digest = hashlib.sha256()
        for array in keras.models.load_model(run / name, compile=False).get_weights():
            digest.update(array.tobytes())
        told[name] = digest.hexdigest()
    with np.load(run / "averaged.npz") as mean:
        told["mean"] = hashlib.sha256(b"".join(mean[key].tobytes() for key in mean.files)).hexdigest()
    lines = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    told["history"] = [{key: line[key] for key in line if key != "seconds"} for line in lines]
    return told


def content(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if ".tmp" not in path.name:
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def main(folder: Path) -> None:
    import tensorflow as tf

    # Sums in one order, so that equal runs are equal to the last bit.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from fer_edge.commands.cli import main as fer_edge

    def train(run: Path, *options: str) -> None:
        words = ["train", "--config", folder / "recipe.toml", "--data", folder / "fer2013.csv", "--out", run, *options]
        if code := fer_edge(list(map(str, words))):
            sys.exit(f"{run}: exit {code}")

    run, snapshots = folder / "run", folder / "snapshots"
    snapshots.mkdir()
    seen: set[str] = set()
    busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy or event not in OPERATIONS or not isinstance(arguments[0], str | os.PathLike):
            return
        if Path(arguments[0]).parent != run or not (run / "checkpoint.keras").exists():
            return
        busy = True
        try:
            state = content(run)
            if state not in seen:
                shutil.copytree(run, snapshots / f"{len(seen):03d}", ignore=shutil.ignore_patterns("run.lock"))
                seen.add(state)
        finally:
            busy = False

    sys.addaudithook(hook)
    train(run)
    busy = True
    resumed = []
    for copy in sorted(snapshots.iterdir()):
        train(copy, "--resume")
        resumed.append({**digests(copy), "left": [path.name for path in copy.iterdir() if ".tmp" in path.name]})
    print(json.dumps({"whole": digests(run), "resumed": resumed}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
