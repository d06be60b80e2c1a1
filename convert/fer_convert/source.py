"""What is converted: a Keras file and, where it lies in a run's folder, what the run says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge import strict_toml
from fer_edge.errors import InputError, ModelError
from fer_edge.labels import FER2013_LABELS
from fer_train.backend import check_model_file, load_model
from fer_train.model import count_macs
from fer_train.run_folder import CONFIG, MODEL, RUN


@dataclass(frozen=True, slots=True, eq=False)
class SourceModel:
    """A Keras model that keeps the contract: pixels 0..255 [N, H, W, 1] in, logits [N, labels] out.

    ``training`` is what the manifest tells of its making.
    """

    path: Path
    keras: Any
    name: str
    labels: tuple[str, ...]
    training: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        _, height, width, _ = self.keras.input_shape
        return int(height), int(width)

    @property
    def params(self) -> int:
        """Weights of the Keras model, those of BatchNorm included."""
        return int(self.keras.count_params())


def locate_model(path: Path) -> Path:
    """The ``.keras`` file that ``path``, such a file or the folder of a run, means; does not load Keras.

    Raises InputError or ModelError when there is none.
    """
    if path.is_dir():
        if not (path / MODEL).is_file():
            raise InputError(f"{path}: holds no {MODEL}: neither a finished run nor a bundle")
        path = path / MODEL
    check_model_file(path)
    return path


def open_source_model(path: Path) -> SourceModel:
    """Load ``path``, a ``.keras`` file or the folder of a run. Raises InputError or ModelError."""
    path = locate_model(path)
    model = load_model(path)
    run = _read_run(path.parent / RUN) if path.name == MODEL else {}
    labels = tuple(run.get("labels", FER2013_LABELS))
    _check_contract(path, model, labels)
    training = {**_training(path.parent, run), "params": int(model.count_params()), "macs": count_macs(model)}
    return SourceModel(path, model, str(run.get("name", path.stem)), labels, training)


def _check_contract(path: Path, model: Any, labels: tuple[str, ...]) -> None:
    given, result = model.input_shape, model.output_shape
    if not isinstance(given, tuple) or len(given) != 4 or given[3] != 1 or None in given[1:3]:
        raise ModelError(f"{path}: takes {given}; wanted one grey input of fixed size, (None, height, width, 1)")
    if not isinstance(result, tuple) or result != (None, len(labels)):
        raise ModelError(f"{path}: gives {result}; wanted one logit for each of {len(labels)} labels")
    last = model.layers[-1]
    if getattr(getattr(last, "activation", None), "__name__", "linear") != "linear":
        raise ModelError(
            f"{path}: ends in {last.activation.__name__}; wanted logits, so a last layer without activation"
        )


def _read_run(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read it: {error}") from None
    if not isinstance(table, dict):
        raise InputError(f"{path}: not the record of a run")
    return table


def _training(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    if not run:
        return {}
    kept: dict[str, Any] = {
        key: run[key] for key in ("dataset", "git", "backend", "keras", "epochs", "best_epoch") if key in run
    }
    config = folder / CONFIG
    return {"config": strict_toml.read_toml(config), **kept} if config.is_file() else kept
