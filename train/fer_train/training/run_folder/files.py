"""Names of the files in a run's folder, and what they say about the run. Needs no Keras."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fer_edge.errors import InputError
from fer_edge.system.files import write_text_atomically
from fer_train.recipe.recipe import RUN_CONFIG

CHECKPOINT, BEST, HELD, MODEL = "checkpoint.keras", "best.keras", "held.keras", "model.keras"
CONFIG, HISTORY, RUN, CURVES = RUN_CONFIG, "history.jsonl", "run.json", "curves.png"
DATA, LOCK, AVERAGED = "data.json", "run.lock", "averaged.npz"
TRACKING = "tracking.json"
"""Where a run with ``[tracking]`` is recorded."""
STUDY = "study.db"
"""A file in the folder of a search, which by default has the recipe's name, as a run's folder has."""


@dataclass(frozen=True, slots=True)
class LearnedData:
    """Name and row hash of a run's data set; ``allow_other`` permits data other than in the epochs so far."""

    name: str
    rows_sha256: str
    allow_other: bool = False


def model_file(path: Path) -> Path:
    """Return ``path`` if it is a file, or the path of the model in it if it is a run's folder.

    Raises:
        InputError: if the folder contains no model. A file is not checked; ``load_model`` does that.
    """
    if not path.is_dir():
        return path
    if not (path / MODEL).is_file():
        raise InputError(f"{path}: holds no {MODEL}; give a finished run or a .keras file")
    return path / MODEL


def record_of_run(model: Path) -> dict[str, Any] | None:
    """Return the record (run.json) next to the file ``model``; None if there is none.

    Raises:
        InputError: if the record cannot be read or contains no labels.
    """
    path = model.with_name(RUN)
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["labels"] = [str(label) for label in record["labels"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the record of a run: {error}") from None
    return dict(record)


def labels_of_run(model: Path) -> tuple[str, ...] | None:
    """Return the labels in the record next to the file ``model``; None and errors as ``record_of_run``."""
    record = record_of_run(model)
    return None if record is None else tuple(record["labels"])


def learned_sets(run: Path) -> list[dict[str, Any]]:
    """Return the data sets of ``run``: name, rows_sha256 and first epoch of each; none if not recorded.

    Raises:
        InputError: if the record is damaged.
    """
    path = run / DATA
    if not path.exists():
        return []
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))["sets"]
        return [
            {"from_epoch": int(s["from_epoch"]), "name": str(s["name"]), "rows_sha256": str(s["rows_sha256"])}
            for s in sets
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the record of a run's data: {error}") from None


def started_at(run: Path) -> datetime | None:
    """Return the UTC time at which ``run`` started; None if it is not recorded, as in runs of earlier versions."""
    for name in (RUN, DATA):
        try:
            return datetime.fromisoformat(json.loads((run / name).read_text(encoding="utf-8"))["started_at"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def now_utc() -> datetime:
    """Return the current UTC time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def write_data(run: Path, sets: list[dict[str, Any]], started: datetime | None) -> None:
    """Write the record of data sets and start time that ``learned_sets`` and ``started_at`` read."""
    start = {} if started is None else {"started_at": started.isoformat()}
    write_text_atomically(run / DATA, json.dumps({**start, "sets": sets}, indent=2) + "\n")
