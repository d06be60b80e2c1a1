"""The gate: what a conversion must keep, as a TOML file; a bundle that does not keep it is never written.

    variants = ["int8"]            # which exports are judged (default: all that are made but float32)

    [accuracy]                     # against the Keras model on PublicTest, in points of a hundred
    max_loss_points = 1.0          # top-1: the upper end of the loss's 95 % interval
    max_recall_loss_points = 5.0   # the recall of any class
    max_ece_rise_points = 2.0      # calibration error at the bundle's temperature

    [file]
    max_bytes = 1_150_000
    operators = ["CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"]    # no other may be in the file

    [latency]
    max_time_over_float32 = 1.0    # on this machine, one thread, interleaved with float32

A rule that is not given is not checked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from fer_bench.accuracy import Evaluation, evaluate_logits
from fer_bench.latency.engines import ENGINES
from fer_bench.latency.measure import Plan, measure_latency
from fer_bench.latency.process import Configuration
from fer_bench.latency.summary import BASELINE
from fer_bench.metrics import IntArray, accuracy_change_interval
from fer_bench.results import REFERENCE
from fer_convert.checks import file_operators
from fer_edge.errors import CheckFailedError, ConfigError
from fer_edge.model.bundle import ModelBundle
from fer_edge.settings.base import Settings, decode
from fer_edge.settings.toml_files import read_toml
from fer_edge.types import Float32Array
from fer_train.data.dataset import PUBLIC_TEST
from fer_train.recipe.values import MAX_FLOAT, Positive

log = logging.getLogger(__name__)

Points = Annotated[float, Meta(ge=-MAX_FLOAT, le=MAX_FLOAT, extra={"allowed": "a finite number"})]


class AccuracyRules(Settings, frozen=True):
    """Losses against the Keras model on the same images, in points (hundredths); None: not checked."""

    max_loss_points: Points | None = None
    max_recall_loss_points: Points | None = None
    max_ece_rise_points: Points | None = None


class FileRules(Settings, frozen=True):
    """Largest size in bytes and the only operators allowed, by the names of the file's format; None: not checked."""

    max_bytes: Annotated[int, Meta(ge=1)] | None = None
    operators: tuple[str, ...] | None = None


class LatencyRules(Settings, frozen=True):
    """Largest ratio of a variant's time to float32's in the same run; None: not checked."""

    max_time_over_float32: Positive | None = None


class Gate(Settings, frozen=True):
    """All rules of a gate file; ``variants`` None judges every variant made but float32."""

    variants: tuple[str, ...] | None = None
    accuracy: AccuracyRules = AccuracyRules()
    file: FileRules = FileRules()
    latency: LatencyRules = LatencyRules()

    def judged(self, made: Sequence[str]) -> tuple[str, ...]:
        """Which of the variants ``made`` are judged. Raises ConfigError when that cannot be done."""
        if missing := [name for name in self.variants or () if name not in made]:
            raise ConfigError(f"the gate judges {', '.join(missing)}: not among the variants made, {', '.join(made)}")
        if self.latency.max_time_over_float32 is not None and REFERENCE not in made:
            raise ConfigError(f"the gate compares times with {REFERENCE}'s: add {REFERENCE} to --variants")
        judged = self.variants or tuple(name for name in made if name != REFERENCE)
        if not judged:
            raise ConfigError(f"the gate has nothing to judge: only {REFERENCE} is made; name it in its variants")
        return judged


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """What there is to judge: the bundle as it stands in the staging folder, logits [N, labels] of each variant and of
    the Keras model (``reference``) on PublicTest, and the true labels [N]."""

    bundle: ModelBundle
    logits: Mapping[str, Float32Array]
    reference: Float32Array
    truth: IntArray


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's answer: ``told`` says what was measured and what is allowed."""

    passed: bool
    told: str


def read_gate(path: Path) -> Gate:
    """Read a gate file. Raises ConfigError for one that is wrong, or that holds no rule."""
    gate = decode(Gate, read_toml(path), str(path))
    rules = (gate.accuracy, gate.file, gate.latency)
    if all(getattr(rule, name) is None for rule in rules for name in rule.__struct_fields__):
        raise ConfigError(f"{path}: holds no rule; give one, such as max_loss_points under [accuracy]")
    return gate


def check(gate: Gate, exported: Exported) -> None:
    """Judge every rule, log each finding, and raise CheckFailedError with all that failed, in one line."""
    failed = []
    for variant in gate.judged(tuple(exported.logits)):
        for finding in _findings(gate, exported, variant):
            log.info("gate: %s: %s: %s", variant, "passed" if finding.passed else "REFUSED", finding.told)
            if not finding.passed:
                failed.append(f"{variant}: {finding.told}")
    if failed:
        raise CheckFailedError(f"the gate refuses it, and nothing was written: {'; '.join(failed)}")


def _findings(gate: Gate, exported: Exported, variant: str) -> Iterator[Finding]:
    yield from _judge_file(gate.file, exported.bundle.variant(variant).path)
    yield from _judge_accuracy(gate.accuracy, exported, variant)
    if gate.latency.max_time_over_float32 is not None:
        yield _judge_latency(gate.latency.max_time_over_float32, exported.bundle, variant)


def _judge_file(rules: FileRules, path: Path) -> Iterator[Finding]:
    if rules.max_bytes is not None:
        size = path.stat().st_size
        yield Finding(size <= rules.max_bytes, f"{size} bytes (at most {rules.max_bytes})")
    if rules.operators is not None:
        foreign = sorted(set(file_operators(path)) - set(rules.operators))
        yield Finding(not foreign, f"operators outside the allowed set: {', '.join(foreign) or 'none'}")


def _judge_accuracy(rules: AccuracyRules, exported: Exported, variant: str) -> Iterator[Finding]:
    before = _evaluated(exported, exported.reference, "Keras")
    after = _evaluated(exported, exported.logits[variant], variant)
    if rules.max_loss_points is not None:
        right = (before.predictions == before.truth, after.predictions == after.truth)
        low, high = accuracy_change_interval(*right)
        loss = 100 * (before.accuracy - after.accuracy)
        told = f"top-1 loss {loss:+.2f} points, 95 % interval {-100 * high:+.2f} to {-100 * low:+.2f}"
        yield Finding(-100 * low <= rules.max_loss_points, f"{told} (at most {rules.max_loss_points:g})")
    if rules.max_recall_loss_points is not None:
        losses = [100 * (was.recall - now.recall) for was, now in zip(before.classes, after.classes, strict=True)]
        worst = max(range(len(losses)), key=losses.__getitem__)
        told = f"largest loss of recall {losses[worst]:+.1f} points, of {before.labels[worst]}"
        yield Finding(
            losses[worst] <= rules.max_recall_loss_points, f"{told} (at most {rules.max_recall_loss_points:g})"
        )
    if rules.max_ece_rise_points is not None:
        rise = 100 * (after.ece - before.ece)
        told = f"calibration error rises by {rise:+.2f} points (at most {rules.max_ece_rise_points:g})"
        yield Finding(rise <= rules.max_ece_rise_points, told)


def _evaluated(exported: Exported, logits: Float32Array, model: str) -> Evaluation:
    manifest = exported.bundle.manifest
    return evaluate_logits(
        logits,
        exported.truth,
        model=model,
        split=PUBLIC_TEST,
        labels=manifest.labels,
        temperature=manifest.temperature,
    )


def _judge_latency(limit: float, bundle: ModelBundle, variant: str) -> Finding:
    suffix = bundle.variant(variant).path.suffix
    engine = next(engine.name for engine in ENGINES.values() if engine.suffix == suffix)  # the first is the usual one
    asked = dict.fromkeys((BASELINE, Configuration(variant, engine, 1)))
    rows, _ = measure_latency(bundle, tuple(asked), Plan())
    ratio = next((row.ratio for row in rows if row.variant == variant), None)
    if ratio is None:  # not float32's fault, ``Gate.judged`` saw to it: the variant's engine does not work here
        return Finding(False, f"cannot be timed on {engine} here")
    return Finding(ratio <= limit, f"takes {ratio:.2f} of {REFERENCE}'s time on this machine (at most {limit:g})")
