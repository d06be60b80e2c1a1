"""Accuracy of int8 exports by the number of calibration images and the rule that chooses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from fer_bench.results import DatasetInfo, ShareResult
from fer_convert.analysis.experiment import Experiment
from fer_convert.export.tflite import export
from fer_convert.export.variants import VARIANTS
from fer_convert.quantization.calibration import PER_CLASS, RULES, SEED, usable_rows, with_extremes


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """Exports to measure: all combinations of ``rules`` and ``per_class`` images of each class, ``seeds`` times."""

    rules: Sequence[str]
    per_class: Sequence[int]
    seeds: int

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Yield rule, images of each class and seed; by seed first, so a stopped study has all rules and sizes."""
        return (
            (rule, per_class, SEED + seed)
            for seed in range(self.seeds)
            for per_class in self.per_class
            for rule in self.rules
        )

    def __len__(self) -> int:
        return len(self.rules) * len(self.per_class) * self.seeds


class StudyPoint(msgspec.Struct, frozen=True):
    """One export.

    Attributes:
        rule: Name of the rule that chose the calibration images.
        size: Number of calibration images, without the black and the white one.
        seed: Seed of the choice.
        shipped: Whether this is the choice of ``convert``.
        accuracy: Top-1 accuracy.
        agreement: Share of images with the Keras model's label, 0..1.
    """

    rule: str
    size: int
    seed: int
    shipped: bool
    accuracy: ShareResult
    agreement: float


class Study(msgspec.Struct, frozen=True):
    """All points in the order of measurement; ``partial`` if the study was stopped before the last one."""

    model: str
    dataset: DatasetInfo
    split: str
    reference: ShareResult
    partial: bool
    points: tuple[StudyPoint, ...]


def measure_points(experiment: Experiment, plan: StudyPlan) -> Iterator[StudyPoint]:
    """Measure each export of ``plan``. Raises ModelError if one fails the checks of ``convert``."""
    dataset = experiment.dataset
    rows = usable_rows(dataset)
    shipped = next(iter(RULES)), PER_CLASS, SEED
    for rule, per_class, seed in plan:
        indices = RULES[rule](dataset, rows, per_class, seed)
        content = export(experiment.source.keras, VARIANTS["int8"], with_extremes(dataset, indices))
        logits = experiment.logits(content)
        yield StudyPoint(
            rule,
            len(indices),
            seed,
            (rule, per_class, seed) == shipped,
            experiment.accuracy(logits),
            experiment.agreement(logits),
        )
