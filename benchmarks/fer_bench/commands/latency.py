"""``fer-edge bench latency``: latency and memory of a bundle's variants. Needs no data set and no training package."""

from __future__ import annotations

import argparse

from fer_bench.commands.delivery import bundle_path, check_outputs, deliver, describe_bundle, variant_results
from fer_bench.host import describe_host
from fer_bench.latency.measure import Plan, choose_configurations, measure_latency
from fer_bench.results import BenchmarkReport, LatencySettings
from fer_edge.model.bundle import load_bundle


def run(arguments: argparse.Namespace) -> int:
    """Run ``bench latency`` and return the exit code."""
    check_outputs(arguments)
    plan = plan_of(arguments)
    with load_bundle(bundle_path(arguments.bundle)) as bundle:
        rows, machine = measure_latency(bundle, choose_configurations(bundle, plan), plan)
        found = BenchmarkReport(
            describe_host(),
            describe_bundle(bundle),
            variant_results(bundle, {row.variant for row in rows}),
            latency_settings=plan.settings,
            machine=machine,
            latency=rows,
        )
    deliver(found, arguments)
    return 0


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return the plan that the options describe."""
    return Plan(
        LatencySettings(arguments.rounds, arguments.runs),
        arguments.engines,
        arguments.threads,
        arguments.tflite_runtime,
        arguments.timeout,
    )
