"""What is converted: the model of a run and what the run says of it, or a model that was not trained here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_convert.foreign.files import check_kind
from fer_convert.foreign.open_foreign import BroughtOptions, open_brought
from fer_edge.errors import InputError
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.settings.toml_files import read_toml
from fer_train.backend import check_contract, check_model_file, load_model
from fer_train.model import count_macs
from fer_train.run_folder import CONFIG, MODEL, RUN, record_of_run


@dataclass(frozen=True, slots=True, eq=False)
class SourceModel:
    """A Keras model that keeps the contract: pixels 0..255 [N, H, W, 1] in, logits [N, labels] out.

    ``params`` are its weights, those of BatchNorm included. ``training`` is what the manifest tells of its making;
    ``told``, of a model that was not trained here, what was found and assumed, a line each.
    """

    path: Path
    keras: Any
    name: str
    labels: tuple[str, ...]
    params: int
    training: dict[str, Any]
    told: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        _, height, width, _ = self.keras.input_shape
        return int(height), int(width)

    @property
    def is_ours(self) -> bool:
        """Whether it was trained here."""
        return not self.told


def locate_model(path: Path) -> Path:
    """The ``.keras`` or ``.h5`` file or SavedModel folder that ``path`` means, one of these or the folder of a run.

    Does not load Keras. Raises InputError or ModelError when there is none.
    """
    if (path / MODEL).is_file():
        path = path / MODEL
    check_kind(path)
    return path


def open_source_model(path: Path) -> SourceModel:
    """Load ``path``, a run's folder or a ``.keras`` file that keeps the contract. Raises InputError or ModelError."""
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


def open_any_model(path: Path, options: BroughtOptions) -> SourceModel:
    """Load ``path``, the folder of a run or, by ``options``, a model that was not trained here.

    Raises InputError or ModelError.
    """
    path = locate_model(path)
    if path.name == MODEL and (path.parent / RUN).is_file():
        if options.given:
            raise InputError(f"{path.parent}: a run knows what its model takes; leave out {', '.join(options.given)}")
        return open_source_model(path)
    brought = open_brought(path, options)
    training = {
        "brought": {"from": path.name, "told": list(brought.told)},
        "params": brought.params,
        "macs": brought.macs,
    }
    return SourceModel(path, brought.keras, path.stem, brought.labels, brought.params, training, brought.told)


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
