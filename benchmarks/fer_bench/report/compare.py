"""Compare two reports of ``fer-edge bench``: which differences are real, and which are noise or inconclusive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np

from fer_bench import metrics
from fer_bench.extras import require
from fer_bench.results import AccuracyResult, BenchmarkReport, ClassRecall, LatencyRow, VariantResult
from fer_bench.results.hex_bits import from_hex
from fer_bench.tables import percent
from fer_edge.errors import InputError

Verdict = Literal["better", "worse", "inconclusive", "noise", "same"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

ALPHA = 0.05
DRIFT = 0.05
"""Two runs of the same file on one idle machine differ by up to this share."""
MAX_OTHERS_SHARE = 0.1
"""Share of the processor time of all cores that other processes may use. An idle system's own services use a few per
cent; beyond this, others also slow down a process that never waits for a core, through caches, memory and clock."""
SIZE_NOISE = 0.01
"""Share of a file's size that the names in it may change."""
RSS_NOISE_MIB = 1.0
"""Difference of the resident memory of the same process from start to start."""
_RESAMPLES, _SEED = 2000, 20130701
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """One quantity in both reports; ``evidence`` gives the numbers behind the verdict."""

    what: str
    before: str
    after: str
    change: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All quantities that both reports contain; ``notes`` say what could not be compared, and why."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> tuple[Change, ...]:
        """The significant changes for the worse."""
        return tuple(change for change in self.changes if change.verdict == "worse")

    @property
    def summary(self) -> str:
        """The number of changes with each verdict."""
        counts = Counter(change.verdict for change in self.changes)
        return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


def compare_reports(before: BenchmarkReport, after: BenchmarkReport) -> Comparison:
    """Compare what both contain. Raises InputError if they have nothing in common."""
    notes: list[str] = []
    changes = [
        *_sizes(before, after),
        *(_accuracies(before, after) if _same_data(before, after, notes) else ()),
        *(_latencies(before, after) if _same_machine(before, after, notes) else ()),
    ]
    for section, what in (("pipeline", "whole frames"), ("sequence", "moving faces")):
        if getattr(before, section) or getattr(after, section):
            notes.append(f"{what} are not compared: see the two reports")
    if not changes:
        raise InputError(f"the two reports have nothing in common to compare{': ' if notes else ''}{'; '.join(notes)}")
    return Comparison(tuple(changes), tuple(notes))


def _same_data(before: BenchmarkReport, after: BenchmarkReport, notes: list[str]) -> bool:
    if before.dataset is None or after.dataset is None:
        return False
    if before.dataset.rows_sha256 != after.dataset.rows_sha256 or before.bundle.labels != after.bundle.labels:
        notes.append("accuracy was measured on different data or labels")
        return False
    return True


def _same_machine(before: BenchmarkReport, after: BenchmarkReport, notes: list[str]) -> bool:
    if not before.latency or not after.latency:
        return False
    hosts = [report.host.chip for report in (before, after)]
    if hosts[0] != hosts[1]:
        notes.append(f"latency was measured on different machines: {hosts[0]} and {hosts[1]}")
        return False
    if any(report.machine is None or report.machine.others_share is None for report in (before, after)):
        notes.append("the processor time that other processes used is unknown for at least one report")
    return True


def _pairs(before: tuple[T, ...], after: tuple[T, ...], key: Callable[[T], object]) -> Iterator[tuple[T, T]]:
    others = {key(item): item for item in after}
    return ((item, others[key(item)]) for item in before if key(item) in others)


def _variants(before: BenchmarkReport, after: BenchmarkReport) -> Iterator[tuple[VariantResult, VariantResult]]:
    return _pairs(before.results, after.results, lambda row: row.variant)


def _sizes(before: BenchmarkReport, after: BenchmarkReport) -> Iterator[Change]:
    for was, now in _variants(before, after):
        difference = now.size_bytes - was.size_bytes
        verdict: Verdict = "same" if difference == 0 else "worse" if difference > 0 else "better"
        if abs(difference) <= SIZE_NOISE * was.size_bytes:
            verdict = "same"
        evidence = f"a change of up to {SIZE_NOISE:.0%} counts as the same"
        yield Change(
            f"{was.variant}: bytes", str(was.size_bytes), str(now.size_bytes), f"{difference:+d}", verdict, evidence
        )


def _accuracies(before: BenchmarkReport, after: BenchmarkReport) -> Iterator[Change]:
    found = [
        (was.variant, one, other)
        for was, now in _variants(before, after)
        for one, other in _pairs(was.accuracy, now.accuracy, lambda found: found.split)
    ]
    for variant, one, other in found:
        yield _top1(f"{variant}: top-1 % on {one.split}", one, other, len(found))
        yield from _recalls(f"{variant}: recall % of", one, other)


def _top1(what: str, was: AccuracyResult, now: AccuracyResult, tests: int) -> Change:
    """Compare image by image; it is one of ``tests`` comparisons (Bonferroni)."""
    right = from_hex(was.right, was.n), from_hex(now.right, now.n)
    p = metrics.mcnemar_p(*right)
    low, high = metrics.accuracy_change_interval(*right)
    difference = now.accuracy - was.accuracy
    evidence = (
        f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}, McNemar p {p:.3g}, significant below {ALPHA / tests:.2g}"
    )
    verdict = "same" if was.right == now.right else _verdict(difference, p < ALPHA / tests)
    shown = (percent(was.accuracy, 2), percent(now.accuracy, 2))
    return Change(what, *shown, f"{100 * difference:+.2f}", verdict, evidence)


def _recalls(what: str, was: AccuracyResult, now: AccuracyResult) -> Iterator[Change]:
    """Yield only significant changes, which would be lost among all classes."""
    pairs = list(_pairs(was.classes, now.classes, lambda part: part.label))
    for one, other in pairs:
        if one.recall is None or other.recall is None:
            continue
        low, high = _difference_interval(one, other, ALPHA / len(pairs))
        if low <= 0 <= high:
            continue
        difference = other.recall - one.recall
        evidence = f"{100 * low:+.1f} to {100 * high:+.1f} (Newcombe, over {len(pairs)} classes)"
        shown = (percent(one.recall), percent(other.recall))
        yield Change(
            f"{what} {one.label} on {was.split}",
            *shown,
            f"{100 * difference:+.1f}",
            _verdict(difference, True),
            evidence,
        )


def _difference_interval(was: ClassRecall, now: ClassRecall, alpha: float) -> tuple[float, float]:
    """Return the interval of the change of a proportion, as if samples were independent (Newcombe, 1998)."""
    proportion = require("statsmodels.stats.proportion")
    low, high = proportion.confint_proportions_2indep(
        now.correct, now.support, was.correct, was.support, method="newcomb", compare="diff", alpha=alpha
    )
    return float(low), float(high)


def _latencies(before: BenchmarkReport, after: BenchmarkReport) -> Iterator[Change]:
    for was, now in _pairs(before.latency, after.latency, lambda row: (row.variant, row.engine, row.threads)):
        name = f"{was.variant} on {was.engine}, {was.threads} thread{'s' * (was.threads > 1)}"
        yield _p50(f"{name}: p50 ms", was, now, _busy_reports(before, after))
        difference = now.rss_loaded_mib - was.rss_loaded_mib
        shown = (f"{was.rss_loaded_mib:.1f}", f"{now.rss_loaded_mib:.1f}")
        verdict = _verdict(-difference, abs(difference) > RSS_NOISE_MIB)
        evidence = f"a change of up to {RSS_NOISE_MIB:g} MiB is noise"
        yield Change(f"{name}: RSS MiB", *shown, f"{difference:+.1f}", verdict, evidence)


def _busy_reports(before: BenchmarkReport, after: BenchmarkReport) -> str:
    """Say how much processor time others used while a report was made, if it is too much; else empty."""
    shares = [report.machine.others_share for report in (before, after) if report.machine is not None]
    most = max((share for share in shares if share is not None), default=0.0)
    return f"other processes used {most:.0%} of the processor" if most > MAX_OTHERS_SHARE else ""


def _p50(what: str, was: LatencyRow, now: LatencyRow, others: str) -> Change:
    """Compare the medians of the rounds. A change beyond the drift needs evidence, or it is inconclusive.

    It is inconclusive if other processes were active (``others`` says how much), if the interval of the ratio includes
    1, or if rounds were disturbed: the process waited for a core, or the machine was throttled. Disturbed rounds are
    tolerated if the change remains beyond the drift in the worst case without them.
    """
    low, high = _ratio_interval(was.round_p50_ms, now.round_p50_ms)
    ratio = now.p50_ms / was.p50_ms
    beyond_drift = abs(ratio - 1) > DRIFT
    waited, throttled = (
        max(getattr(row, name) or 0 for row in (was, now)) for name in ("busy_rounds", "throttled_rounds")
    )
    worst = _without_disturbed(was, now, slower=ratio > 1) if waited or throttled else None
    tolerated = worst is not None and (worst > 1 + DRIFT if ratio > 1 else worst < 1 - DRIFT)
    remarks = [
        others,
        f"waited for a core in {_rounds(waited)}" if waited else "",
        f"throttled in {_rounds(throttled)}" if throttled else "",
        "the rounds scatter too much" if low <= 1 <= high else "",
        f"without disturbed rounds at {'least' if ratio > 1 else 'most'} {worst:.3f}" if tolerated else "",
    ]
    doubtful = bool(others) or low <= 1 <= high or ((waited > 0 or throttled > 0) and not tolerated)
    evidence = f"ratio {ratio:.3f}, 95 % interval {low:.3f} to {high:.3f}"
    verdict = _verdict(1 - ratio, beyond_drift)
    if beyond_drift:
        verdict = "inconclusive" if doubtful else verdict
        evidence = "; ".join([evidence, *filter(None, remarks)])
    shown = (f"{was.p50_ms:.3f}", f"{now.p50_ms:.3f}")
    return Change(what, *shown, f"{100 * (ratio - 1):+.1f} %", verdict, evidence)


def _ratio_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval (Efron, 1979) of the ratio of the medians; the rounds are resampled."""
    random = np.random.default_rng(_SEED)
    medians = [
        np.median(random.choice(rounds, (_RESAMPLES, len(rounds))), axis=1)
        for rounds in (np.array(before), np.array(after))
    ]
    low, high = (float(value) for value in np.percentile(medians[1] / medians[0], (2.5, 97.5)))
    return low, high


def _without_disturbed(was: LatencyRow, now: LatencyRow, *, slower: bool) -> float | None:
    """Return the end of the ratio's interval that is nearest to 1, without the disturbed rounds.

    A report contains the number of disturbed rounds, but not which they are. So the rounds that support the change
    most are left out: if it is ``slower``, the fastest ones before and the slowest ones after. Whichever rounds were
    disturbed, the change is not smaller. None if half of the rounds or more were disturbed.
    """
    kept = []
    for row, slowest in ((was, not slower), (now, slower)):
        disturbed = (row.busy_rounds or 0) + (row.throttled_rounds or 0)
        rounds = sorted(row.round_p50_ms)
        if 2 * disturbed >= len(rounds):
            return None
        kept.append(rounds[: len(rounds) - disturbed] if slowest else rounds[disturbed:])
    low, high = _ratio_interval(*kept)
    return low if slower else high


def _rounds(count: int) -> str:
    return f"{count} round{'s' * (count > 1)}"


def _verdict(gain: float, real: bool) -> Verdict:
    """Return the verdict for ``gain``, which is above 0 if the second report is better."""
    if gain == 0:
        return "same"
    if not real:
        return "noise"
    return "better" if gain > 0 else "worse"
