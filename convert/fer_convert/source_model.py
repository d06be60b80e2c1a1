"""Open the model to convert: a run's, with the record of its training, or a foreign one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_convert.foreign.files import check_kind
from fer_convert.foreign.open_foreign import ForeignOptions, open_foreign
from fer_edge.errors import InputError
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.settings.toml_files import read_toml
from fer_train.networks.layers import count_macs
from fer_train.networks.model_files import check_contract, check_model_file, load_model
from fer_train.training.run_folder.files import CONFIG, MODEL, RUN, record_of_run


@dataclass(frozen=True, slots=True, eq=False)
class SourceModel:
    """A Keras model that takes pixels 0..255, [N, H, W, 1], and returns logits, [N, labels].

    Attributes:
        path: Its file or folder.
        keras: The model.
        name: Name of the bundle, by default.
        labels: Labels in the order of the logits.
        params: Number of weights, including those of BatchNorm.
        training: The manifest's ``training``: how the model was made.
        notes: For a foreign model, lines that say what was found and assumed.
    """

    path: Path
    keras: Any
    name: str
    labels: tuple[str, ...]
    params: int
    training: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        _, height, width, _ = self.keras.input_shape
        return int(height), int(width)

    @property
    def is_ours(self) -> bool:
        """Whether it was trained by ``fer-edge train``."""
        return not self.notes


def locate_model(path: Path) -> Path:
    """Return the model file or SavedModel folder of ``path``, which may also be the folder of a run.

    Does not load Keras. Raises InputError or ModelError if no model is found.
    """
    if (path / MODEL).is_file():
        path = path / MODEL
    check_kind(path)
    return path


def open_source_model(path: Path) -> SourceModel:
    """Load a run's folder, or a ``.keras`` file like a run's. Raises InputError or ModelError."""
    path = locate_model(path)
    check_model_file(path)
    run = (record_of_run(path) if path.name == MODEL else None) or {}
    training = _training(path.parent, run)
    model = load_model(path)
    labels = tuple(run.get("labels", FER2013_LABELS))
    check_contract(path, model, labels)
    params = int(model.count_params())
    training |= {"params": params, "macs": count_macs(model)}
    return SourceModel(path, model, str(run.get("name", path.stem)), labels, params, training)


def open_any_model(path: Path, options: ForeignOptions) -> SourceModel:
    """Load the folder of a run or, with ``options``, a foreign model. Raises InputError or ModelError."""
    path = locate_model(path)
    if path.name == MODEL and (path.parent / RUN).is_file():
        if options.given:
            raise InputError(f"{path.parent}: a run records what its model takes; leave out {', '.join(options.given)}")
        return open_source_model(path)
    foreign = open_foreign(path, options)
    training = {
        "brought": {"from": path.name, "told": list(foreign.notes)},
        "params": foreign.params,
        "macs": foreign.macs,
    }
    return SourceModel(path, foreign.keras, path.stem, foreign.labels, foreign.params, training, foreign.notes)


def _training(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    if not run:
        return {}
    kept: dict[str, Any] = {
        key: run[key]
        for key in ("dataset", "git", "backend", "keras", "epochs", "best_epoch", "averaged_epochs", "mean_of")
        if key in run
    }
    if "validation_accuracy" in run:
        kept["own_splits"] = True
    config = folder / CONFIG
    return {"config": read_toml(config), **kept} if config.is_file() else kept
