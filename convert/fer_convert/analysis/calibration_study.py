"""What calibration does: int8 exports of one model, calibrated on more or fewer images, chosen by different rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fer_bench.results import DatasetInfo, ShareResult
from fer_convert.analysis.experiment import Trial
from fer_convert.export.tflite import export
from fer_convert.export.variants import VARIANTS
from fer_convert.quantization.calibration import PER_CLASS, RULES, SEED, usable_rows, with_extremes


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """Which exports to make: each of ``rules`` with each of ``per_class`` images a class, ``seeds`` times."""

    rules: Sequence[str]
    per_class: Sequence[int]
    seeds: int

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Rule, images a class, seed; a seed at a time, so that a study cut short has all sizes and rules."""
        return (
            (rule, per_class, SEED + seed)
            for seed in range(self.seeds)
            for per_class in self.per_class
            for rule in self.rules
        )

    def __len__(self) -> int:
        return len(self.rules) * len(self.per_class) * self.seeds


@dataclass(frozen=True, slots=True)
class StudyPoint:
    """One export: calibrated on ``size`` Training images (and the two extremes) that ``rule`` chose with ``seed``.

    ``agreement`` is the share of the images with the Keras model's label; ``shipped``: the choice that ``convert``
    makes.
    """

    rule: str
    size: int
    seed: int
    shipped: bool
    accuracy: ShareResult
    agreement: float


@dataclass(frozen=True, slots=True)
class Study:
    """All points, in the order they were measured; ``partial`` when it was stopped before the last."""

    model: str
    dataset: DatasetInfo
    split: str
    reference: ShareResult
    partial: bool
    points: tuple[StudyPoint, ...]


def measure_points(trial: Trial, plan: StudyPlan) -> Iterator[StudyPoint]:
    """Each export of ``plan``, measured. Raises ModelError when one fails ``convert``'s checks."""
    dataset = trial.dataset
    rows = usable_rows(dataset)
    shipped = next(iter(RULES)), PER_CLASS, SEED
    for rule, per_class, seed in plan:
        indices = RULES[rule](dataset, rows, per_class, seed)
        content = export(trial.source.keras, VARIANTS["int8"], with_extremes(dataset, indices))
        logits = trial.logits(content)
        yield StudyPoint(
            rule,
            len(indices),
            seed,
            (rule, per_class, seed) == shipped,
            trial.accuracy(logits),
            trial.agreement(logits),
        )
