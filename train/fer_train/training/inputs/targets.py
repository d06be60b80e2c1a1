"""The targets of each Training image: FER2013's label, FER+ votes and soft labels, mixed as ``[targets]`` says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.types import Float32Array
from fer_train.data.ferplus import load_votes
from fer_train.data.samples import Dataset
from fer_train.networks.model_files import check_model_file
from fer_train.recipe.targets import TargetSettings
from fer_train.splits import TRAINING
from fer_train.training.inputs.soft_labels import read_soft_labels
from fer_train.training.run_folder.files import model_file

log = logging.getLogger(__name__)


def training_targets(
    settings: TargetSettings, dataset: Dataset, source: Path | None = None
) -> Callable[[int], Float32Array]:
    """Return a function of the epoch (from 0) that returns a distribution for each row of Training.

    The distributions are float32 [rows, labels], in the order of the file. They lack the share of
    ``settings.teacher_models``, which ``teacher.Teacher`` adds. Missing files are reported before the first epoch.

    Args:
        settings: The shares.
        dataset: The data set.
        source: The path from which it was read.

    Raises:
        InputError: if FER+ votes, soft labels or a teacher's model are missing, malformed or of other data.
        ModelError: if a teacher's file is not a model.
    """
    for model in settings.teacher_models:
        check_model_file(model_file(Path(model)))
    phases = {phase: _mixed(phase, dataset, source) for phase in (settings.at(0), settings.at(settings.teacher_from))}
    return lambda epoch: phases[settings.at(epoch)]


def _mixed(settings: TargetSettings, dataset: Dataset, source: Path | None) -> Float32Array:
    labels = dataset.splits[TRAINING].labels
    targets = dataset.splits[TRAINING].distributions(len(dataset.labels)) * (1 - settings.crowd - settings.teacher)
    if settings.crowd:
        targets += settings.crowd * crowd_targets(load_votes(dataset, source)[TRAINING], labels)
    if settings.teacher_labels:
        targets += settings.teacher * read_soft_labels(Path(settings.teacher_labels), dataset)
    return targets


def crowd_targets(votes: Float32Array, labels: npt.NDArray[np.int64]) -> Float32Array:
    """Return P(FER2013 label | votes), float32 [N, labels], fitted to ``votes`` and ``labels`` of the same N images.

    FER+ and FER2013 use the same words differently: their majority agrees on two thirds of the images. A multinomial
    logistic regression on the shares of the votes translates them. With ten answers and their square roots it has too
    few parameters to memorize single images.
    """
    from sklearn.linear_model import LogisticRegression

    shares = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    features = np.concatenate([shares, np.sqrt(shares)], axis=1)
    translation = LogisticRegression(max_iter=2000).fit(features, labels)
    log.info("FER+ votes alone name the FER2013 label of %.1f %%", 100 * translation.score(features, labels))
    probabilities = np.zeros((len(labels), int(labels.max()) + 1), dtype=np.float32)
    probabilities[:, translation.classes_] = translation.predict_proba(features)
    return probabilities
