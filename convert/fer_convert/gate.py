"""Check a conversion against the rules of a gate file (``gate_rules``): no bundle is written if it breaks one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fer_bench.accuracy import Evaluation, evaluate_logits
from fer_bench.latency.engines import ENGINES
from fer_bench.latency.measure import Plan, measure_latency
from fer_bench.latency.process import Configuration
from fer_bench.latency.summary import BASELINE
from fer_bench.metrics import IntArray, accuracy_change_interval
from fer_bench.results import REFERENCE
from fer_convert.checks import file_operators
from fer_convert.gate_rules import AccuracyRules, FileRules, Gate
from fer_edge.errors import CheckFailedError
from fer_edge.model.bundle import ModelBundle
from fer_edge.types import Float32Array
from fer_train.data.dataset import PUBLIC_TEST

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """A conversion to check.

    Attributes:
        bundle: The bundle, before it is moved to its target.
        logits: Logits on PublicTest by variant, float32 [N, labels].
        reference: Those of the Keras model.
        truth: True labels [N].
    """

    bundle: ModelBundle
    logits: Mapping[str, Float32Array]
    reference: Float32Array
    truth: IntArray


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one rule; ``text`` contains the measured and the allowed value."""

    passed: bool
    text: str


def check(gate: Gate, exported: Exported) -> list[tuple[str, Finding]]:
    """Check and log all rules; return the variant and the finding of each.

    Raises:
        CheckFailedError: if rules are broken; its one line names all of them.
    """
    found, failed = [], []
    for variant in gate.judged(tuple(exported.logits)):
        for finding in _findings(gate, exported, variant):
            log.info("gate: %s: %s: %s", variant, "passed" if finding.passed else "REFUSED", finding.text)
            found.append((variant, finding))
            if not finding.passed:
                failed.append(f"{variant}: {finding.text}")
    if failed:
        raise CheckFailedError(f"the gate refuses it, and nothing was written: {'; '.join(failed)}")
    return found


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
        text = f"top-1 loss {loss:+.2f} points, 95 % interval {-100 * high:+.2f} to {-100 * low:+.2f}"
        yield Finding(-100 * low <= rules.max_loss_points, f"{text} (at most {rules.max_loss_points:g})")
    if rules.max_recall_loss_points is not None:
        losses = [100 * (was.recall - now.recall) for was, now in zip(before.classes, after.classes, strict=True)]
        worst = max(range(len(losses)), key=losses.__getitem__)
        text = f"largest loss of recall {losses[worst]:+.1f} points, of {before.labels[worst]}"
        yield Finding(
            losses[worst] <= rules.max_recall_loss_points, f"{text} (at most {rules.max_recall_loss_points:g})"
        )
    if rules.max_ece_rise_points is not None:
        rise = 100 * (after.ece - before.ece)
        text = f"calibration error rises by {rise:+.2f} points (at most {rules.max_ece_rise_points:g})"
        yield Finding(rise <= rules.max_ece_rise_points, text)


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
    engine = next(engine.name for engine in ENGINES.values() if engine.suffix == suffix)  # the first is the default
    configurations = dict.fromkeys((BASELINE, Configuration(variant, engine, 1)))
    rows, _ = measure_latency(bundle, tuple(configurations), Plan())
    ratio = next((row.ratio for row in rows if row.variant == variant), None)
    if ratio is None:  # float32 was made (Gate.judged): the variant's engine does not work here
        return Finding(False, f"cannot be timed on {engine} here")
    return Finding(ratio <= limit, f"takes {ratio:.2f} of {REFERENCE}'s time on this machine (at most {limit:g})")
