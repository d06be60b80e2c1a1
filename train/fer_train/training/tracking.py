"""Record a run for TensorBoard or MLflow, by their own callback and client. Without ``[tracking]``, nothing happens.

A record that fails is reported once, and the training continues: it may be the result of days.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fer_edge.errors import InputError, reason_of
from fer_edge.settings.base import to_table
from fer_edge.system.extras import require_modules
from fer_edge.system.files import write_text_atomically
from fer_train.recipe.recipe import RUN_CONFIG, Recipe, load_recipe
from fer_train.recipe.tracking import TrackingSettings
from fer_train.training.run_folder.files import CURVES, RUN, TRACKING

log = logging.getLogger(__name__)

_PACKAGES = {"none": (), "tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
_RETRIES = "2"
"""MLflow tries a server that does not answer seven times, which takes minutes for each epoch."""


def check_tracking(settings: TrackingSettings | None) -> None:
    """Raise MissingExtraError if a package for the records is not installed; imports nothing."""
    kind = "none" if settings is None else settings.kind
    require_modules(_PACKAGES[kind], kind)
    if kind == "tensorboard":
        require_modules(("tensorflow",), "train")


class _Store(Protocol):
    """Where one run is recorded."""

    def epoch(self, model: Any, epoch: int, values: Mapping[str, float]) -> None:
        """Record the numbers of ``epoch``, from 0."""

    def text(self, name: str, path: Path) -> None:
        """Record a text file."""

    def picture(self, path: Path) -> None:
        """Record a picture."""

    def close(self, *, done: bool) -> None:
        """Write what is not written yet; ``done`` if the run has its final model."""


class Tracking:
    """The records of one run. Entering it opens the store; leaving it closes the store."""

    def __init__(self, recipe: Recipe, run: Path, *, resumed: bool) -> None:
        """``resumed``: the folder ``run`` has records of the same run."""
        self._recipe, self._run, self._resumed = recipe, run, resumed
        self._store: _Store | None = None
        self._done = self._failed = False

    def __enter__(self) -> None:
        """Open the store, and record the settings. Raises InputError if that fails."""
        settings = self._recipe.tracking
        if settings is None or settings.kind == "none":
            return
        try:
            if not self._resumed:
                (self._run / TRACKING).unlink(missing_ok=True)
            self._store = _open(settings, self._run, self._recipe)
            self._store.text("settings", self._run / RUN_CONFIG)
        except Exception as error:  # noqa: BLE001 - libraries raise anything
            raise InputError(f"tracking: {settings.kind} cannot record the run: {reason_of(error)}") from None

    def __exit__(self, *_: object) -> None:
        store = self._store
        if store is not None:
            self._try(lambda: store.close(done=self._done))

    def epoch(self, model: Any, line: Mapping[str, Any]) -> None:
        """Record a line of the history. ``model`` has its optimizer."""
        store = self._store
        if store is not None:
            numbers = ((key, value) for key, value in line.items() if key != "epoch" and isinstance(value, int | float))
            values = {key: float(value) for key, value in numbers}
            self._try(lambda: store.epoch(model, int(line["epoch"]) - 1, values))

    def final(self) -> None:
        """Record the curves and the report of the finished run."""
        self._done = True
        store = self._store
        if store is not None:
            self._try(lambda: store.picture(self._run / CURVES))
            self._try(lambda: store.text("report", self._run / RUN))

    def _try(self, record: Callable[[], None]) -> None:
        try:
            record()
        except Exception as error:  # noqa: BLE001 - libraries raise anything, also for a full disk or a lost server
            if not self._failed:
                log.warning("tracking: not recorded, and the training continues: %s", reason_of(error))
            self._failed = True


def record_card(run: Path, card: Path) -> None:
    """Add a model card to the records of the run in the folder ``run``, if it has any; a failure is logged."""
    if not (run / TRACKING).is_file():
        return
    try:
        recipe = load_recipe(run / RUN_CONFIG)
        settings = recipe.tracking or TrackingSettings()
        check_tracking(settings)
        store = _open(settings, run, recipe)
        store.text("model card", card)
        store.close(done=True)
    except Exception as error:  # noqa: BLE001 - as above; the bundle is complete without it
        log.warning("tracking: the model card is not recorded: %s", reason_of(error))


def _open(settings: TrackingSettings, run: Path, recipe: Recipe) -> _Store:
    if settings.kind == "mlflow":
        return _MlflowStore(settings, run, recipe)
    folder = Path(settings.store) / run.name if settings.store else run / "tensorboard"
    write_text_atomically(run / TRACKING, json.dumps({"kind": settings.kind, "folder": str(folder)}) + "\n")
    return _TensorBoardStore(folder)


class _TensorBoardStore:
    """Event files, by Keras' own callback; texts and pictures by the same library."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._callback: Any = None

    def epoch(self, model: Any, epoch: int, values: Mapping[str, float]) -> None:
        if self._callback is None:
            from keras.callbacks import TensorBoard

            self._callback = TensorBoard(str(self._folder), write_graph=False, profile_batch=0)
            self._callback.set_model(model)
            self._callback.on_train_begin()
        self._callback._model = model  # set_model would begin other files; the model changes with the phase of training
        self._callback.on_epoch_end(epoch, dict(values))

    def text(self, name: str, path: Path) -> None:
        content = path.read_text(encoding="utf-8")
        # Markdown; other files are shown as they are.
        shown = content if path.suffix == ".md" else "".join(f"    {line}\n" for line in content.splitlines())
        with self._writer.as_default(step=0):
            self._summary.text(name, shown)

    def picture(self, path: Path) -> None:
        import cv2

        image = cv2.imread(str(path))
        if image is not None:
            with self._writer.as_default(step=0):
                self._summary.image(path.stem, image[None, :, :, ::-1])

    def close(self, *, done: bool) -> None:
        del done
        if self._callback is not None:
            self._callback.on_train_end()
        self._writer.close()

    @property
    def _summary(self) -> Any:
        from tensorflow import summary

        return summary

    @functools.cached_property
    def _writer(self) -> Any:
        return self._summary.create_file_writer(str(self._folder))


class _MlflowStore:
    """A run of MLflow, by its client. ``tracking.json`` has its id, so that a resumed run continues it."""

    def __init__(self, settings: TrackingSettings, run: Path, recipe: Recipe) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _RETRIES)
        import mlflow

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)

        self._client = mlflow.MlflowClient(settings.store or None)
        record = run / TRACKING
        before = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        if before.get("kind") == settings.kind:
            self._id = str(before["run"])
            self._client.update_run(self._id, status="RUNNING")
            return
        experiment = self._client.get_experiment_by_name(settings.experiment)
        number = experiment.experiment_id if experiment else self._client.create_experiment(settings.experiment)
        self._id = self._client.create_run(number, run_name=run.name).info.run_id
        for key, value in _flat(to_table(recipe)).items():
            self._client.log_param(self._id, key, value)
        write_text_atomically(record, json.dumps({"kind": settings.kind, "run": self._id}) + "\n")

    def epoch(self, model: Any, epoch: int, values: Mapping[str, float]) -> None:
        del model
        for key, value in values.items():
            self._client.log_metric(self._id, key, value, step=epoch)

    def text(self, name: str, path: Path) -> None:
        self._client.log_artifact(self._id, str(path))
        if name == "report":
            report = json.loads(path.read_text(encoding="utf-8"))
            for key in ("params", "macs", *(key for key in report if key.endswith("_accuracy"))):
                self._client.log_metric(self._id, f"final_{key}", float(report[key]))

    def picture(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path))

    def close(self, *, done: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if done else "KILLED")


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = msgspec.json.encode(value).decode() if not isinstance(value, str) else value
    return found
