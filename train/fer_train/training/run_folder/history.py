"""The epochs of a run so far: in memory, in ``history.jsonl``, and in each checkpoint."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.errors import InputError, ModelError
from fer_edge.system.files import atomic_path, write_text_atomically
from fer_train.training.run_folder.files import CHECKPOINT, HISTORY

_MEMBER = "fer_edge_history.json"
"""Member of a checkpoint's archive: the history up to its epoch. Keras reads only the members that it knows."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The epochs of a run so far, one dictionary for each; "best" marks each epoch that was the best until then."""

    history: list[dict[str, Any]]

    @property
    def epoch(self) -> int:
        """The next epoch, from 0."""
        return len(self.history)

    @property
    def best(self) -> dict[str, Any] | None:
        """The line of the epoch in best.keras; None before the first epoch."""
        return next((line for line in reversed(self.history) if line["best"]), None)

    def add(self, line: dict[str, Any]) -> None:
        """Append an epoch's line; it is the best if no earlier one has the same or a higher validation accuracy."""
        best = self.best
        self.history.append({**line, "best": best is None or line["val_accuracy"] > best["val_accuracy"]})


def history_of(run: Path) -> list[dict[str, Any]]:
    """Return the history in the checkpoint of ``run``; history.jsonl may lack its epoch if the run was killed.

    Raises:
        InputError, ModelError: if the history is damaged.
    """
    state = read_state(run / CHECKPOINT)
    return read_history(run / HISTORY) if state is None else _parse(state, run / CHECKPOINT)


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read a ``history.jsonl``.

    Raises:
        InputError: if it is damaged.
    """
    try:
        return _parse(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot continue from it: {error}") from None


def write_history(history: list[dict[str, Any]], run: Path) -> None:
    """Write ``history.jsonl``."""
    write_text_atomically(run / HISTORY, _to_text(history))


def read_state(checkpoint: Path) -> str | None:
    """Return the text of the history in a checkpoint; None for one of an earlier version.

    Raises:
        ModelError: if the file is damaged.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.read(_MEMBER).decode() if _MEMBER in archive.namelist() else None
    except (OSError, zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        raise ModelError(f"{checkpoint}: cannot resume from it: {error}") from None


def add_state(checkpoint: Path, history: list[dict[str, Any]]) -> None:
    """Add ``history`` to a checkpoint that Keras has just saved."""
    with zipfile.ZipFile(checkpoint, "a") as archive:
        archive.writestr(_MEMBER, _to_text(history))


def copy_checkpoint(source: Path, target: Path, history: list[dict[str, Any]]) -> None:
    """Copy a checkpoint and replace the history in it by ``history``.

    Raises:
        ModelError: if ``source`` is damaged.
    """
    with atomic_path(target) as temporary:
        try:
            with zipfile.ZipFile(source) as old, zipfile.ZipFile(temporary, "w") as new:
                for member in old.infolist():
                    if member.filename != _MEMBER:
                        new.writestr(member, old.read(member))
        except (zipfile.BadZipFile, zlib.error) as error:
            raise ModelError(f"{source}: cannot start from it: {error}") from None
        add_state(temporary, history)


def _to_text(history: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in history)


def _parse(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        lines = [json.loads(line) for line in text.splitlines()]
        return [{**line, "best": bool(line["best"]), "val_accuracy": float(line["val_accuracy"])} for line in lines]
    except KeyError as error:
        raise InputError(f"{path}: cannot continue from it: a line has no {error}") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot continue from it: {error}") from None
