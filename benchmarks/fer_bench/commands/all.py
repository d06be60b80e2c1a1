"""``fer-edge bench`` and ``fer-edge bench all``: accuracy and latency in one report."""

from __future__ import annotations

import argparse

from fer_bench.commands import accuracy, latency
from fer_bench.commands.delivery import bundle_path, check_outputs, deliver, describe_bundle, variant_results
from fer_bench.host import describe_host
from fer_bench.latency.measure import choose_configurations, measure_latency
from fer_bench.results import BenchmarkReport
from fer_edge.model.bundle import load_bundle


def run(arguments: argparse.Namespace) -> int:
    """Run ``bench all`` and return the exit code."""
    check_outputs(arguments)
    plan = latency.plan_of(arguments)
    with load_bundle(bundle_path(arguments.bundle)) as bundle:
        # Everything that can be refused is refused before the measurement, which takes minutes.
        variants = accuracy.working_variants(bundle)
        configurations = choose_configurations(bundle, plan)
        dataset, accuracies = accuracy.measure(bundle, variants, arguments)
        rows, machine = measure_latency(bundle, configurations, plan)
        found = BenchmarkReport(
            describe_host(),
            describe_bundle(bundle),
            variant_results(bundle, {*variants, *(row.variant for row in rows)}, accuracies),
            dataset,
            plan.settings,
            machine,
            rows,
        )
    deliver(found, arguments)
    return 0
