"""The first two lines of a report: what int8 cost, and what it bought."""

from __future__ import annotations

from fer_bench import metrics
from fer_bench.report.charts import main_row
from fer_bench.results import REFERENCE, AccuracyResult, BenchmarkReport, VariantResult
from fer_bench.results.hex_bits import from_hex
from fer_bench.tables import percent

INT8 = "int8"
_ALPHA = 0.05


def verdict(report: BenchmarkReport) -> list[str]:
    """Return two lines that compare int8 with float32; none if the report does not contain both."""
    rows = {row.variant: row for row in report.results}
    if not {REFERENCE, INT8} <= rows.keys():
        return []
    float32, int8 = rows[REFERENCE], rows[INT8]
    return [f"int8 cost: {_cost(float32, int8)}.", f"int8 bought: {_gain(report, float32, int8)}."]


def _cost(float32: VariantResult, int8: VariantResult) -> str:
    """Return the change of accuracy on the split that was measured last: PrivateTest if it was measured."""
    after = int8.accuracy[-1] if int8.accuracy else None
    before = next((found for found in float32.accuracy if after is not None and found.split == after.split), None)
    if before is None or after is None:
        return "accuracy was not measured"
    images = after.correct - before.correct
    shares = f"from {percent(before.accuracy, 2)} to {percent(after.accuracy, 2)} %"
    change = f"{'fell' if images < 0 else 'rose'} {shares} ({abs(images):,} of {after.n:,} images)"
    if not images:
        change = f"stayed at {percent(after.accuracy, 2)} %"
    return f"top-1 on {after.split} {change}, {_significance(before, after)}"


def _significance(before: AccuracyResult, after: AccuracyResult) -> str:
    right = from_hex(before.right, before.n), from_hex(after.right, after.n)
    p = metrics.mcnemar_p(*right)
    low, high = metrics.accuracy_change_interval(*right)
    word = "significant" if p < _ALPHA else "not significant"
    return f"{word} (95 % interval {100 * low:+.2f} to {100 * high:+.2f}, McNemar p {p:.2g})"


def _gain(report: BenchmarkReport, float32: VariantResult, int8: VariantResult) -> str:
    before, after = main_row(report, REFERENCE), main_row(report, INT8)
    sizes = [row.size_bytes / 1024 for row in (float32, int8)]
    parts = [f"a file of {sizes[1]:,.0f} instead of {sizes[0]:,.0f} KiB"]
    if before is None or after is None:
        return f"{parts[0]}; time and memory were not measured"
    # The ratio was measured alternately, so it is more reliable than the quotient of the medians.
    ratio = after.p50_ms / before.p50_ms if after.ratio is None else after.ratio
    parts.insert(0, f"{percent(ratio, 0)} % of the time ({after.p50_ms:.2f} instead of {before.p50_ms:.2f} ms)")
    parts.append(f"{after.rss_loaded_mib:.0f} instead of {before.rss_loaded_mib:.0f} MiB of memory")
    busy = "; the machine was busy: measure again" if before.busy_rounds or after.busy_rounds else ""
    return f"{', '.join(parts)}, on {report.host.cpu} ({report.host.machine}), one thread of {after.engine}{busy}"
