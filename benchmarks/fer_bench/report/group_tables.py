"""Accuracy in groups of images, as tables and notes of a report."""

from __future__ import annotations

from collections.abc import Iterator

from fer_bench.results import AccuracyResult, BenchmarkReport, GroupResult
from fer_bench.results.accuracy import MIN_GROUP
from fer_bench.tables import Table, p_value, percent

_HEADER = ("split", "attribute", "group", "variant", "images", "top-1 % (95 %)", "balanced", "to others (95 %)", "p")


def tables(report: BenchmarkReport) -> list[Table]:
    """Return a table with a row for each group and variant; none if no groups were measured."""
    rows = [
        [result.split, attribute.attribute, group.group, variant, *_cells(group, attribute.p)]
        for variant, result in _measured(report)
        for attribute in result.attributes
        for group in attribute.groups
    ]
    return [Table(_HEADER, sorted(rows, key=lambda row: tuple(row[:3])), 4, "Groups of images")] if rows else []


def notes(report: BenchmarkReport) -> list[str]:
    """Return how groups were compared, and how many images belong to none; a line each."""
    left_out = {
        f"{attribute.attribute}: {attribute.left_out} images of {result.split} in no group of {MIN_GROUP} or more": None
        for _, result in _measured(report)
        for attribute in result.attributes
        if attribute.left_out
    }
    if not any(result.attributes for _, result in _measured(report)):
        return []
    return [
        *left_out,
        "to others: accuracy minus that of all other groups of the attribute, in points, with Newcombe's 95 % interval",
        "p: all groups of the attribute have the same accuracy (chi-squared; two groups: Fisher's exact test), "
        "adjusted for the number of attributes by Holm's method; a group in which other emotions are frequent also "
        "differs: compare the balanced accuracy",
    ]


def _measured(report: BenchmarkReport) -> Iterator[tuple[str, AccuracyResult]]:
    return ((row.variant, result) for row in report.results for result in row.accuracy)


def _cells(group: GroupResult, p: float | None) -> list[str]:
    change = "-"
    if group.difference is not None and group.difference_low is not None and group.difference_high is not None:
        low, high = 100 * group.difference_low, 100 * group.difference_high
        change = f"{100 * group.difference:+.1f} ({low:+.1f} to {high:+.1f})"
    return [
        str(group.n),
        f"{percent(group.accuracy)} ({percent(group.low)}–{percent(group.high)})",
        percent(group.balanced_accuracy),
        change,
        "-" if p is None else p_value(p),
    ]
