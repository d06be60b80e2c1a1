"""A bundle whose model is never run, for tests of faults in its manifest."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

from fer_edge.model.manifest import MANIFEST_NAME

MODEL = bytes(range(256)) * 8
"""The contents of a model file that is never run."""

IO = {
    "input_dtype": "uint8",
    "input_scale": 1.0,
    "input_zero_point": 0,
    "output_dtype": "int8",
    "output_scale": 0.1,
    "output_zero_point": 3,
}
TABLE: dict[str, Any] = {
    "format": 1,
    "name": "stand-in",
    "version": "1.0.0",
    "license": "Apache-2.0",
    "labels": ["happy", "sad", "neutral"],
    "input": {"height": 48, "width": 40, "channels": 1},
    "output": "logits",
    "temperature": 1.37,
    "variants": {
        "int8": {
            "file": "int8.tflite",
            "sha256": hashlib.sha256(MODEL).hexdigest(),
            "bytes": len(MODEL),
            "io": IO,
            "accuracy": {"fer2013_public_test": 0.6},
        }
    },
    "training": {"params": 7, "dataset": {"name": "mini"}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return TABLE with ``value`` at the dotted ``path``."""
    table = copy.deepcopy(TABLE)
    *parents, last = path.split(".")
    place = table
    for key in parents:
        place = place[key]
    place[last] = value
    return table


def without(path: str) -> dict[str, Any]:
    """Return TABLE without the key at the dotted ``path``."""
    table = copy.deepcopy(TABLE)
    *parents, last = path.split(".")
    place = table
    for key in parents:
        place = place[key]
    del place[last]
    return table


def make_bundle(folder: Path, table: dict[str, Any] | None = None) -> Path:
    """Write a bundle of MODEL and ``table`` (default: TABLE) to ``folder`` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "int8.tflite").write_bytes(MODEL)
    (folder / MANIFEST_NAME).write_text(json.dumps(TABLE if table is None else table))
    return folder
